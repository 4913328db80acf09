"""Commands about jobs: submit, watch, fetch, cancel, erase."""

from typing import TYPE_CHECKING, Annotated

import typer

from api_schemas.jobs import Job
from pathpatch.cli.batches import has_succeeded, is_batch, show_batch
from pathpatch.cli.terminal import (
    DEFAULT_URL,
    AsJson,
    CommandFailed,
    JobId,
    JobOrBatchId,
    Kind,
    Output,
    Plot,
    SpecFile,
    Url,
    as_json,
    check_endings,
    connect,
    draw,
    note,
    print_json,
    print_table,
    read_spec,
    save,
    warn,
)  # fmt: skip
from pathpatch.progress import words

if TYPE_CHECKING:
    from pathpatch.results import Result

Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up waiting after this long.")]


def run(
    spec: SpecFile,
    plot: Plot = None,
    kind: Kind = None,
    output: Output = None,
    timeout: Timeout = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit a spec, wait with a progress bar, and show the result.

    Examples:

      pathpatch run spec.yaml

      pathpatch run spec.yaml --plot heads.html --output heads.npz

      pathpatch new sweep | pathpatch run - --plot heads.svg
    """
    check_endings(output, plot)
    wanted = read_spec(spec)
    with connect(url) as client:
        job = client.submit(wanted)
        try:
            result = job.result(timeout_s=timeout, progress=False if json else None)
        except KeyboardInterrupt:
            note(f"{job.id} goes on: pathpatch wait {job.id}, or pathpatch cancel {job.id}")
            raise
        _deliver(result, plot, kind, output, json)


def _deliver(result: "Result", plot: Plot, kind: Kind, output: Output, json: bool) -> None:
    if json:
        print_json(result.to_json())
    else:
        print(result)
    if output is not None:
        save(result, output)
    if plot is not None:
        draw(result, plot, kind)


def submit(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="JSON or YAML files, or - for standard input.")],
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit a spec and print the job's id, without waiting; several specs make one batch, accepted all or none.

    Examples:

      pathpatch submit spec.yaml

      pathpatch wait $(pathpatch submit spec.yaml)

      pathpatch submit specs/*.yaml
    """
    wanted = [read_spec(spec) for spec in specs]
    with connect(url) as client:
        if len(wanted) > 1:
            batch = client.submit_batch(wanted)
            print_json(as_json(batch)) if json else print(batch.id)
            note(f"{len(batch.jobs)} jobs; pathpatch wait {batch.id} waits for all of them")
            return
        job = client.submit(wanted[0])
        if json:
            print_json(as_json(job.job))
            return
        print(job.id)
        note(f"{words(job.job)}; pathpatch wait {job.id} waits, pathpatch result {job.id} shows the result")


def status(job: JobOrBatchId, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Show how far a job is, or the jobs of a batch.

    Example: pathpatch status job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E
    """
    with connect(url) as client:
        if is_batch(job):
            show_batch(client.batch(job), json)
        else:
            _show(client.get(job).job, json)


def _show(job: Job, json: bool) -> None:
    if json:
        print_json(as_json(job))
        return
    progress = job.progress
    left = "" if progress.eta_s is None or job.done else f", about {progress.eta_s:.0f} s left"
    print(f"{job.id}  {words(job)}  {progress.done}/{progress.total} {progress.unit}s{left}")
    print(f"model {job.model}, created {job.created_at:%Y-%m-%d %H:%M:%S} UTC")
    if job.tags:
        print("tags " + ", ".join(f"{name}:{value}" for name, value in job.tags.items()))
    if job.error is not None:
        print(f"{job.error.title}: {job.error.detail} ({job.error.code})")


def wait(job: JobOrBatchId, timeout: Timeout = None, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Wait until a job, or every job of a batch, has ended; the exit code is 0 only if all succeeded.

    Example: pathpatch wait job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --timeout 600
    """
    with connect(url) as client:
        if is_batch(job):
            batch = client.wait_for_batch(job, timeout_s=timeout)
            show_batch(batch, json)
            is_success = has_succeeded(batch)
        else:
            handle = client.get(job).wait(timeout_s=timeout, progress=False if json else None)
            _show(handle.job, json)
            is_success = handle.status == "succeeded"
    if not is_success:
        raise typer.Exit(1)


def result(
    job: JobId,
    plot: Plot = None,
    kind: Kind = None,
    output: Output = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show, save or draw the result of a job that has ended.

    Examples:

      pathpatch result job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --plot heads.png

      pathpatch result job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --json > result.json
    """
    check_endings(output, plot)
    with connect(url) as client:
        handle = client.get(job)
        if not handle.job.done:
            raise CommandFailed(f"Job {job} is still {words(handle.job)}: pathpatch wait {job}")
        _deliver(handle.result(progress=False), plot, kind, output, json)


def cancel(job: JobOrBatchId, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Cancel a job that is queued or running, or what has not ended of a batch.

    Example: pathpatch cancel job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E
    """
    with connect(url) as client:
        if is_batch(job):
            show_batch(client.cancel_batch(job), json)
        else:
            _show(client.cancel(job), json)


def delete(job: JobId, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Erase a job that has ended: its record, its events and its result.

    Example: pathpatch delete job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E
    """
    with connect(url) as client:
        client.delete(job)
    if json:
        print_json({"id": job, "deleted": True})
    else:
        note(f"{job} is erased")


def list_jobs(
    limit: Annotated[int, typer.Option(help="At most this many, newest first.", min=1)] = 20,
    status: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only jobs with this tag.", metavar="KEY:VALUE")] = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs, newest first.

    Examples:

      pathpatch list --status running

      pathpatch list --tag experiment:ioi-heads --limit 100
    """
    with connect(url) as client:
        jobs = [handle.job for handle in client.jobs(limit=limit, status=status, model=model, tag=tag)]
    if json:
        print_json([as_json(job) for job in jobs])
        return
    rows = [_row(job) for job in jobs]
    print_table(("job", "state", "shards", "model", "created (UTC)", "tags"), rows)


def _row(job: Job) -> tuple[str, ...]:
    tags = ", ".join(f"{name}:{value}" for name, value in job.tags.items())
    shards = f"{job.progress.done}/{job.progress.total}"
    return (job.id, words(job), shards, job.model, f"{job.created_at:%Y-%m-%d %H:%M:%S}", tags)


def events(
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Print what happened to a job, oldest first; with --json one event per line.

    Example: pathpatch events job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --follow
    """
    with connect(url) as client:
        for event in client.follow(job) if follow else client.events(job):
            if json:
                print(event.model_dump_json(), flush=True)
            else:
                said = ", ".join(f"{name} {value}" for name, value in event.data.items())
                print(f"{event.created_at:%H:%M:%S}  {event.type:<8}  {said}", flush=True)


def validate(spec: SpecFile, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Say what a spec would do, without running it: prompts, roles, cells, cost.

    Example: pathpatch validate spec.yaml
    """
    wanted = read_spec(spec)
    with connect(url) as client:
        report = client.validate(wanted)
    if json:
        print_json(as_json(report))
        return
    for example in report.examples[:3]:
        print("orig ", end="")
        print(_marked(example.orig, example.roles))
        print("new  ", end="")
        print("".join(example.new))
    cost = "unknown" if report.estimated_seconds is None else f"about {report.estimated_seconds:.2g} s"
    grid = " x ".join(f"{axis} {size}" for axis, size in zip(report.axes, report.shape, strict=True)) or "one number"
    print(f"cells {report.cells} ({grid}), shards {report.shards}, work {cost}, "
              f"result about {report.estimated_result_bytes:,} bytes")  # fmt: skip
    for warning in report.warnings:
        warn(warning)
    note("the spec is valid; nothing was queued")


def _marked(tokens: list[str], roles: dict[str, int]) -> str:
    """The prompt with each role named behind its token, such as ``When Mary[IO] and``."""
    names: dict[int, list[str]] = {}
    for role, place in roles.items():
        names.setdefault(place, []).append(role)
    return "".join(f"{token}[{', '.join(names[i])}]" if i in names else token for i, token in enumerate(tokens))
