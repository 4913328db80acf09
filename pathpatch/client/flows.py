"""What the client does, as flows that ask for effects and are told their outcome: sync and async clients run the same.

A flow is a generator. It yields ``Send`` (and is sent an ``Answer``, or the ``Lost`` of a request that got none),
``Pause`` or ``Tell``; what it returns is the outcome.
"""

import time
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from api_schemas.jobs import TERMINAL, Batch, Job, JobEvent
from api_schemas.merge_patch import merged
from api_schemas.spec import JobSpec
from pathpatch.client import wire
from pathpatch.client.calls import Answer, Call
from pathpatch.client.retries import Clock, Lost, Patience, Retries
from pathpatch.client.wire import SpecLike
from pathpatch.problems import JobFailed, ServiceError, Unreachable, WaitTimedOut
from pathpatch.results import Result

Value = TypeVar("Value")
BATCH_SIZE = 1000
PATIENT = Patience()
_WATCHED_WAIT_S = 1.0


@dataclass(frozen=True)
class Send:
    """Send a request."""

    call: Call[Any]


@dataclass(frozen=True)
class Pause:
    """Wait before going on."""

    seconds: float


@dataclass(frozen=True)
class Tell:
    """Show how far a job is."""

    job: Job


Effect = Send | Pause | Tell
Flow = Generator[Effect, Any, Value]


def exchange(call: Call[Value], patience: Patience | None = None) -> Flow[Value]:
    """Send a request, again where that is safe and may help.

    Raises:
        ServiceError: The service refused.
        Unreachable: No answer came.
    """
    retries = Retries(call, patience)
    while True:
        outcome: Answer | Lost = yield Send(call)
        pause_s = retries.pause_after(outcome)
        if pause_s is not None:
            yield Pause(pause_s)
            call = call.unheld()
        elif isinstance(outcome, Lost):
            raise Unreachable(outcome.url, outcome.why)
        else:
            return call.read(outcome)


def new_key() -> str:
    """A fresh idempotency key."""
    return uuid.uuid4().hex


def submit(spec: SpecLike, patience: Patience = PATIENT) -> Flow[Job]:
    """Submit one job."""
    return (yield from exchange(wire.submit(spec, new_key()), patience))


def rerun(job_id: str, changes: Mapping[str, Any]) -> Flow[Job]:
    """Submit a job's spec again, with changes."""
    return (yield from exchange(wire.rerun(job_id, changes, new_key()), PATIENT))


def wait(
    job: Job, timeout_s: float | None, is_watched: bool, since: float | None = None, clock: Clock = time.monotonic
) -> Flow[Job]:
    """The job as it ended.

    Args:
        timeout_s: Counts from now, or from ``since``, by the clock.

    Raises:
        WaitTimedOut: ``timeout_s`` passed first.
        Unreachable: The service was away when it passed; without it, for ``OUTAGE_S``.
    """
    started = clock() if since is None else since
    deadline = None if timeout_s is None else started + timeout_s
    patience = Patience.of(timeout_s, started, job.id)
    while True:
        if is_watched:
            yield Tell(job)
        if job.status in TERMINAL:
            return job
        left_s = float("inf") if deadline is None else deadline - clock()
        if timeout_s is not None and left_s <= 0:
            raise WaitTimedOut(job.id, job.status, timeout_s)
        hold_s = min(_WATCHED_WAIT_S if is_watched else wire.LONGEST_WAIT_S, max(left_s, 0.1))
        asked_at = clock()
        job = yield from exchange(wire.get_job(job.id, hold_s), patience)
        if job.status not in TERMINAL and clock() - asked_at < min(hold_s, 0.2):
            yield Pause(0.2)  # the service did not hold the answer back


def result(job: Job, timeout_s: float | None, is_watched: bool, since: float | None = None) -> Flow[Result]:
    """The job's result, when it has ended; arguments as of ``wait``.

    Raises:
        JobFailed: It ended without one.
        WaitTimedOut: It did not end in time.
    """
    started = time.monotonic() if since is None else since
    patience = Patience.of(timeout_s, started, job.id)
    ended = yield from wait(job, timeout_s, is_watched, started)
    if ended.status != "succeeded":
        raise JobFailed(ended.id, ended.status, ended.error)
    spec = ended.spec.model_dump(mode="json", exclude_none=True)
    found = yield from exchange(wire.get_result(ended.id, spec), patience)
    if found is None:
        raise AssertionError("a job that succeeded has a result")
    if not found.has_position_axis:
        return found
    return replace(found, prompt_tokens=(yield from _first_prompt(ended.spec, patience)))


def _first_prompt(spec: JobSpec, patience: Patience) -> Flow[list[str] | None]:
    """The tokens that positions are labelled with; None if they cannot be told any more."""
    try:
        report = yield from exchange(wire.validate(spec), patience)
    except ServiceError:
        return None
    return report.examples[0].orig if report.examples else None


def run(spec: SpecLike, timeout_s: float | None, is_watched: bool) -> Flow[Result]:
    """Submit, wait, fetch, all within ``timeout_s``."""
    started = time.monotonic()
    job = yield from submit(spec, Patience.of(timeout_s, started))
    return (yield from result(job, timeout_s, is_watched, started))


def submit_batch(specs: Sequence[SpecLike]) -> Flow[Batch]:
    """Submit several jobs, all or none."""
    return (yield from exchange(wire.submit_batch(specs, new_key()), PATIENT))


def wait_for_batch(batch_id: str, timeout_s: float | None) -> Flow[Batch]:
    """A batch, every job of which has ended.

    Raises:
        WaitTimedOut: One has not, when ``timeout_s`` had passed.
    """
    started = time.monotonic()
    patience = Patience.of(timeout_s, started)
    batch = yield from exchange(wire.get_batch(batch_id))
    for job_id in batch.jobs:
        job = yield from exchange(wire.get_job(job_id), patience)
        yield from wait(job, timeout_s, False, started)
    return (yield from exchange(wire.get_batch(batch_id), patience))


def submit_all(specs: Sequence[SpecLike]) -> Flow[list[Job]]:
    """Submit many jobs, in batches that are accepted whole or not at all."""
    jobs = []
    for start in range(0, len(specs), BATCH_SIZE):
        batch = yield from submit_batch(specs[start : start + BATCH_SIZE])
        for job_id in batch.jobs:
            jobs.append((yield from exchange(wire.get_job(job_id), PATIENT)))
    return jobs


def each_seed(specs: SpecLike | Sequence[SpecLike], seeds: Iterable[int] | None) -> list[SpecLike]:
    """Every spec with every seed; without seeds the specs as they are."""
    several = [specs] if isinstance(specs, JobSpec | Mapping) else list(specs)
    if seeds is None:
        return several
    changes = [{"dataset": {"seed": seed}} for seed in seeds]
    return [merged(wire.spec_json(spec), change) for spec in several for change in changes]


def map_results(specs: Sequence[SpecLike], timeout_s: float | None, is_watched: bool) -> Flow[list[Result]]:
    """The results of many specs, in their order."""
    jobs = yield from submit_all(specs)
    results = []
    for job in jobs:
        results.append((yield from result(job, timeout_s, is_watched)))
    return results


def has_more_events(job_id: str, after: str | None) -> Flow[bool]:
    """Whether anything follows an event. The job is asked for first: what it did until it ended is then in the list."""
    patience = Patience(job_id=job_id)
    job = yield from exchange(wire.get_job(job_id), patience)
    if job.status not in TERMINAL:
        return True
    page = yield from exchange(wire.list_events(job_id, after), patience)
    return bool(page.data)


def every_event(job_id: str) -> Flow[list[JobEvent]]:
    """All of a job's events so far, oldest first."""
    events: list[JobEvent] = []
    while True:
        page = yield from exchange(wire.list_events(job_id, events[-1].id if events else None))
        events += page.data
        if not page.has_more or not page.data:
            return events


def every_job(filters: Mapping[str, Any], most: int | None) -> Flow[list[Job]]:
    """All jobs that the filters let through, newest first, at most ``most``."""
    jobs: list[Job] = []
    while most is None or len(jobs) < most:
        limit = 100 if most is None else min(100, most - len(jobs))
        after = jobs[-1].id if jobs else None
        page = yield from exchange(wire.list_jobs(limit=limit, after=after, **filters))
        jobs += page.data
        if not page.has_more or not page.data:
            break
    return jobs
