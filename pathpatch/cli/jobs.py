"""Commands about submitted jobs: watch, fetch, cancel, erase."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from api_schemas.jobs import Batch, Job
from pathpatch.cli.batches import has_succeeded, is_batch, show_batch
from pathpatch.cli.job_names import JobId, JobIds, JobOrBatchId, JobOrBatchIds, job_id, job_ids
from pathpatch.cli.look import LookOptions, with_look
from pathpatch.cli.output import Kind, Output, Plot, check_endings, deliver
from pathpatch.cli.terminal import (
    DEFAULT_URL,
    AsJson,
    CommandFailed,
    Timeout,
    Url,
    as_json,
    connect,
    note,
    print_json,
    say,
)  # fmt: skip
from pathpatch.progress import words

if TYPE_CHECKING:
    from pathpatch.client import Client


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
    say(f"{job.id}  {words(job)}  {progress.done}/{progress.total} {progress.unit}s{left}")
    say(title_of(job.spec))
    say(f"model {job.model}, created {job.created_at:%Y-%m-%d %H:%M:%S} UTC")
    if job.tags:
        say("tags " + ", ".join(f"{name}:{value}" for name, value in job.tags.items()))
    if job.error is not None:
        say(f"{job.error.title}: {job.error.detail} ({job.error.code})")


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
                say(event.model_dump_json(), flush=True)
            else:
                said = ", ".join(f"{name} {value}" for name, value in event.data.items())
                say(f"{event.created_at:%H:%M:%S}  {event.type:<8}  {said}", flush=True)
