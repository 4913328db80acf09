"""What the client does, as flows that ask for effects and are told their outcome: sync and async clients run the same.

A flow is a generator. It yields ``Send`` (and is sent an ``Answer``, or the ``Lost`` of a request that got none),
``Pause`` or ``Tell``; what it returns is the outcome.
"""

import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, TypeVar

from api_schemas.jobs import TERMINAL, Job, JobEvent
from api_schemas.spec import JobSpec
from pathpatch import wire
from pathpatch.problems import JobFailed, ServiceError, Unreachable, WaitTimedOut
from pathpatch.results import Result
from pathpatch.wire import Answer, Call, SpecLike

Value = TypeVar("Value")
MOST_RETRIES = 5
LONGEST_PAUSE_S = 60.0
BATCH_SIZE = 1000
_WATCHED_WAIT_S = 1.0
_TRANSIENT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Send:
    """Send a request."""

    call: Call[Any]


@dataclass(frozen=True)
class Lost:
    """A request that got no answer. ``never_left``: the service certainly did not see it."""

    url: str
    why: str
    never_left: bool
    retries: int = MOST_RETRIES
    """How many more attempts are worth while."""


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
Clock = Callable[[], float]


def exchange(call: Call[Value]) -> Flow[Value]:
    """Send a request, again where that is safe and may help.

    Raises:
        ServiceError: The service refused.
        Unreachable: No answer came.
    """
    for attempt in count():
        outcome: Answer | Lost = yield Send(call)
        pause_s = _pause_before_retry(call, outcome, attempt)
        if pause_s is not None:
            yield Pause(pause_s)
        elif isinstance(outcome, Lost):
            raise Unreachable(outcome.url, outcome.why)
        else:
            return call.read(outcome)
    raise AssertionError("count() does not end")


def _pause_before_retry(call: Call[Any], outcome: Answer | Lost, attempt: int) -> float | None:
    """Seconds before the next attempt, or None to accept the outcome."""
    if attempt >= MOST_RETRIES:
        return None
    backoff_s = min(0.25 * 2**attempt, 8.0) * random.uniform(0.75, 1.25)
    if isinstance(outcome, Lost):
        is_worth_it = attempt < outcome.retries and (outcome.never_left or call.is_repeatable)
        return backoff_s if is_worth_it else None
    asked_s = outcome.retry_after_s
    is_in_flight = outcome.status == 409 and asked_s is not None and "idempotency-key" in call.headers
    if not is_in_flight and (outcome.status not in _TRANSIENT or not call.is_repeatable or outcome.is_final):
        return None
    pause_s = backoff_s if asked_s is None else max(asked_s, 0.05)
    return pause_s if pause_s <= LONGEST_PAUSE_S else None


def new_key() -> str:
    """A fresh idempotency key."""
    return uuid.uuid4().hex


def submit(spec: SpecLike) -> Flow[Job]:
    """Submit one job."""
    return (yield from exchange(wire.submit(spec, new_key())))


def wait(job: Job, timeout_s: float | None, is_watched: bool, clock: Clock = time.monotonic) -> Flow[Job]:
    """The job as it ended.

    Raises:
        WaitTimedOut: ``timeout_s`` passed first.
    """
    deadline = None if timeout_s is None else clock() + timeout_s
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
        job = yield from exchange(wire.get_job(job.id, hold_s))
        if job.status not in TERMINAL and clock() - asked_at < min(hold_s, 0.2):
            yield Pause(0.2)  # the service did not hold the answer back


def result(job: Job, timeout_s: float | None, is_watched: bool) -> Flow[Result]:
    """The job's result, when it has ended.

    Raises:
        JobFailed: It ended without one.
        WaitTimedOut: It did not end in time.
    """
    ended = yield from wait(job, timeout_s, is_watched)
    if ended.status != "succeeded":
        raise JobFailed(ended.id, ended.status, ended.error)
    spec = ended.spec.model_dump(mode="json", exclude_none=True)
    found = yield from exchange(wire.get_result(ended.id, spec))
    if found is None:
        raise AssertionError("a job that succeeded has a result")
    if not found.has_position_axis:
        return found
    return replace(found, prompt_tokens=(yield from _first_prompt(ended.spec)))


def _first_prompt(spec: JobSpec) -> Flow[list[str] | None]:
    """The tokens that positions are labelled with; None if they cannot be told any more."""
    try:
        report = yield from exchange(wire.validate(spec))
    except ServiceError:
        return None
    return report.examples[0].orig if report.examples else None


def run(spec: SpecLike, timeout_s: float | None, is_watched: bool) -> Flow[Result]:
    """Submit, wait, fetch."""
    job = yield from submit(spec)
    return (yield from result(job, timeout_s, is_watched))


def submit_all(specs: Sequence[SpecLike]) -> Flow[list[Job]]:
    """Submit many jobs, in batches that are accepted whole or not at all."""
    jobs = []
    for start in range(0, len(specs), BATCH_SIZE):
        batch = yield from exchange(wire.submit_batch(specs[start : start + BATCH_SIZE], new_key()))
        for job_id in batch.jobs:
            jobs.append((yield from exchange(wire.get_job(job_id))))
    return jobs


def map_results(specs: Sequence[SpecLike], timeout_s: float | None, is_watched: bool) -> Flow[list[Result]]:
    """The results of many specs, in their order."""
    jobs = yield from submit_all(specs)
    results = []
    for job in jobs:
        results.append((yield from result(job, timeout_s, is_watched)))
    return results


def has_more_events(job_id: str, after: str | None) -> Flow[bool]:
    """Whether anything follows an event: more has happened already, or the job has not ended."""
    page = yield from exchange(wire.list_events(job_id, after))
    if page.data:
        return True
    job = yield from exchange(wire.get_job(job_id))
    return job.status not in TERMINAL


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
