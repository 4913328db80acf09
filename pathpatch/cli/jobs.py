"""Commands about jobs: submit, watch, fetch, cancel, erase."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from api_schemas.jobs import Batch, Job
from pathpatch.cli.batches import has_succeeded, is_batch, show_batch
from pathpatch.cli.job_names import JobId, JobIds, JobOrBatchId, JobOrBatchIds, job_id, job_ids
from pathpatch.cli.look import LookOptions, with_look
from pathpatch.cli.output import Kind, Output, Plot, check_endings, deliver
from pathpatch.cli.spec_files import read_spec
from pathpatch.cli.terminal import (
    DEFAULT_URL,
    AsJson,
    CommandFailed,
    SpecFile,
    Url,
    as_json,
    connect,
    note,
    print_json,
    warn,
)  # fmt: skip
from pathpatch.progress import words

if TYPE_CHECKING:
    from pathpatch.client import Client

Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up waiting after this long.")]


@with_look
def run(
    spec: SpecFile,
    look: LookOptions,
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
        if not sys.stderr.isatty():  # no bar names it
            note(f"submitted {job.id}")
        try:
            result = job.result(timeout_s=timeout, progress=False if json else None)
        except KeyboardInterrupt:
            note(f"{job.id} goes on: pathpatch wait {job.id}, or pathpatch cancel {job.id}")
            raise
        deliver(result, plot, kind, look, output, json)


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

    Examples:

      pathpatch status job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E

      pathpatch status last
    """
    with connect(url) as client:
        _show(_found(client, job_id(client, job)), json)


def _found(client: "Client", identifier: str) -> Job | Batch:
    return client.batch(identifier) if is_batch(identifier) else client.get(identifier).job


def _show(found: Job | Batch, json: bool) -> None:
    if json:
        print_json(as_json(found))
    elif isinstance(found, Batch):
        show_batch(found)
    else:
        _show_job(found)


def _show_all(found: Sequence[Job | Batch], json: bool) -> None:
    """Several, as one list of JSON; one by itself as ever."""
    if json and len(found) > 1:
        print_json([as_json(one) for one in found])
        return
    for one in found:
        _show(one, json)


def _show_job(job: Job) -> None:
    from pathpatch.specs.words import title_of

    progress = job.progress
    left = "" if progress.eta_s is None or job.done else f", about {progress.eta_s:.0f} s left"
    print(f"{job.id}  {words(job)}  {progress.done}/{progress.total} {progress.unit}s{left}")
    print(title_of(job.spec))
    print(f"model {job.model}, created {job.created_at:%Y-%m-%d %H:%M:%S} UTC")
    if job.tags:
        print("tags " + ", ".join(f"{name}:{value}" for name, value in job.tags.items()))
    if job.error is not None:
        print(f"{job.error.title}: {job.error.detail} ({job.error.code})")


def wait(jobs: JobOrBatchIds, timeout: Timeout = None, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Wait until each job, or every job of a batch, has ended; the exit code is 0 only if all succeeded.

    Examples:

      pathpatch wait job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --timeout 600

      pathpatch wait last
    """
    started = time.monotonic()
    with connect(url) as client:
        ended = []
        for identifier in job_ids(client, jobs):
            left_s = None if timeout is None else max(timeout - (time.monotonic() - started), 0.0)
            ended.append(_waited_for(client, identifier, left_s, json))
    _show_all(ended, json)
    if not all(map(has_succeeded, ended)):
        raise typer.Exit(1)


def _waited_for(client: "Client", identifier: str, timeout_s: float | None, is_quiet: bool) -> Job | Batch:
    if is_batch(identifier):
        return client.wait_for_batch(identifier, timeout_s=timeout_s)
    return client.get(identifier).wait(timeout_s=timeout_s, progress=False if is_quiet else None).job


@with_look
def result(
    job: JobId,
    look: LookOptions,
    plot: Plot = None,
    kind: Kind = None,
    output: Output = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show, save or draw the result of a job that has ended.

    Examples:

      pathpatch result job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --plot heads.pdf --title "Name movers" --size 5x4

      pathpatch result job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E --json > result.json
    """
    check_endings(output, plot)
    with connect(url) as client:
        handle = client.get(job_id(client, job))
        if not handle.job.done:
            raise CommandFailed(f"Job {handle.id} is still {words(handle.job)}: pathpatch wait {handle.id}")
        deliver(handle.result(progress=False), plot, kind, look, output, json)


def cancel(jobs: JobOrBatchIds, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Cancel jobs that are queued or running, or what has not ended of a batch.

    Examples:

      pathpatch cancel job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E

      pathpatch cancel last
    """
    with connect(url) as client:
        cancelled: list[Job | Batch] = []
        for identifier in job_ids(client, jobs):
            cancelled.append(client.cancel_batch(identifier) if is_batch(identifier) else client.cancel(identifier))
    _show_all(cancelled, json)


def delete(jobs: JobIds, json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Erase jobs that have ended: their records, their events and their results.

    Examples:

      pathpatch delete job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E

      pathpatch delete job_01JZ8Q job_01JZ9R
    """
    with connect(url) as client:
        erased = job_ids(client, jobs)
        for identifier in erased:
            client.delete(identifier)
            if not json:
                note(f"{identifier} is erased")
    if json:
        told = [{"id": identifier, "deleted": True} for identifier in erased]
        print_json(told if len(told) > 1 else told[0])


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
        identifier = job_id(client, job)
        for event in client.follow(identifier) if follow else client.events(identifier):
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
