"""Steps on existing jobs: read, list, cancel, delete, follow, fetch the result."""

import json
from typing import Any

from api_schemas.errors import JobNotCancellable, JobStillRunning, UnknownBatch, UnknownJob
from api_schemas.jobs import JobStatus
from job_store.records import (
    BatchRecord,
    EventPage,
    JobRecord,
    Page,
    StoredEvent,
    StoredResult,
    pairs,
    read_described,
)
from job_store.script import Step
from job_store.seals import unsealed

EVERYONE = "*"


def get(job_id: str, owner: str | None = None) -> Step[JobRecord]:
    """One job.

    Raises:
        UnknownJob: It does not exist or belongs to another owner.
    """

    def read(reply: list[Any] | None) -> JobRecord:
        if not reply:
            raise UnknownJob(job_id)
        return read_described(*reply)

    return Step("get", (job_id, owner or ""), read)


def list_jobs(
    owner: str | None,
    *,
    limit: int = 20,
    after: str | None = None,
    status: JobStatus | None = None,
    model: str | None = None,
    tag: tuple[str, str] | None = None,
    name: str | None = None,
) -> Step[Page]:
    """One page of an owner's jobs, or of all jobs, newest first.

    Args:
        after: Id of the last job of the previous page; the job may have been deleted since.
        name: A part of the spec's name, in either case.
    """
    filters = [
        *([f"status:{status}"] if status else []),
        *([f"model:{model}"] if model else []),
        *([f"tag:{tag[0]}={tag[1]}"] if tag else []),
    ]

    def read(reply: list[Any]) -> Page:
        found = [read_described(*described) for described in reply]
        return Page(tuple(found[:limit]), has_more=len(found) > limit)

    part_of_name = (name or "").casefold()
    return Step("list_jobs", (owner or EVERYONE, limit, after or "", part_of_name, *filters), read)


def cancel(job_id: str, owner: str | None = None) -> Step[JobStatus]:
    """Stop a job. It becomes ``cancelled``, or ``cancelling`` until its running shards have stopped.

    Raises:
        UnknownJob: It does not exist or belongs to another owner.
        JobNotCancellable: It has succeeded or failed.
    """

    def read(reply: bytes) -> JobStatus:
        status: Any = reply.decode()
        if status == "unknown":
            raise UnknownJob(job_id)
        if status in ("succeeded", "failed"):
            raise JobNotCancellable(job_id, status)
        return status  # type: ignore[no-any-return]

    return Step("cancel", (job_id, owner or ""), read)


def delete(job_id: str, owner: str | None = None) -> Step[None]:
    """Erase a job that is queued or has ended: record, events and result.

    Raises:
        UnknownJob: It does not exist or belongs to another owner.
        JobStillRunning: It is running or being cancelled.
    """

    def read(reply: bytes) -> None:
        status = reply.decode()
        if status == "unknown":
            raise UnknownJob(job_id)
        if status != "erased":
            raise JobStillRunning(job_id, status)

    return Step("delete", (job_id, owner or ""), read, repeatable=False)


def _read_event(entry: list[Any]) -> StoredEvent:
    fields = pairs(entry[1])
    return StoredEvent(entry[0].decode(), fields["type"].decode(), int(fields["at"]), json.loads(fields["data"]))


def events(job_id: str, owner: str | None = None, after: str = "0", limit: int = 100) -> Step[EventPage]:
    """Events later than ``after``, oldest first.

    Raises:
        UnknownJob: It does not exist or belongs to another owner.
    """

    def read(reply: list[Any] | None) -> EventPage:
        if not reply:
            raise UnknownJob(job_id)
        found = [_read_event(entry) for entry in reply[0]]
        return EventPage(tuple(found[:limit]), has_more=len(found) > limit, is_done=bool(reply[1]))

    return Step("events", (job_id, owner or "", after, limit), read)


def result(job_id: str, owner: str | None = None) -> Step[StoredResult | None]:
    """A job's result; None before it exists and after it has expired.

    Raises:
        UnknownJob: It does not exist or belongs to another owner.
        DamagedData: It differs from what was stored; call `drop_damaged`.
    """

    def read(reply: list[Any]) -> StoredResult | None:
        if reply[0] == b"unknown":
            raise UnknownJob(job_id)
        if reply[0] != b"found":
            return None
        return _read_result(job_id, *reply[1:])

    return Step("result", (job_id, owner or ""), read, fetches=True)


def get_with_result(
    job_id: str, owner: str | None = None, *, most_bytes: int
) -> Step[tuple[JobRecord, StoredResult | None]]:
    """A job with its result, unless that has more bytes; raises what ``get`` and ``result`` raise."""

    def read(reply: list[Any] | None) -> tuple[JobRecord, StoredResult | None]:
        if not reply:
            raise UnknownJob(job_id)
        return read_described(*reply[:3]), _read_result(job_id, *reply[3:]) if reply[3:] else None

    return Step("get_with_result", (job_id, owner or "", most_bytes), read, fetches=True)


def _read_result(job_id: str, head: bytes, arrays: bytes, is_sealed: int) -> StoredResult:
    what = f"The result of {job_id}"
    return StoredResult(*(unsealed(part, what, is_sealed=bool(is_sealed)) for part in (head, arrays)))


def drop_damaged(job_id: str) -> Step[int]:
    """Erase the result of a job and of all jobs answered from it; returns the number of jobs."""
    return Step("drop_damaged", (job_id,), int)


def batch(batch_id: str, owner: str | None = None) -> Step[BatchRecord]:
    """A batch and the states of its jobs.

    Raises:
        UnknownBatch: It does not exist or belongs to another owner.
    """
    return Step("batch", (batch_id, owner or ""), lambda reply: _read_batch(batch_id, reply))


def cancel_batch(batch_id: str, owner: str | None = None) -> Step[BatchRecord]:
    """Cancel those jobs of a batch that have not ended.

    Raises:
        UnknownBatch: It does not exist or belongs to another owner.
    """
    return Step("cancel_batch", (batch_id, owner or ""), lambda reply: _read_batch(batch_id, reply))


def _read_batch(batch_id: str, reply: list[Any] | None) -> BatchRecord:
    if not reply:
        raise UnknownBatch(batch_id)
    owner, created_ms, states = reply
    jobs: Any = tuple((job_id.decode(), status.decode()) for job_id, status in zip(*[iter(states)] * 2, strict=True))
    return BatchRecord(batch_id, owner.decode(), int(created_ms), jobs)
