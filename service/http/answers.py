"""Answers that several routes give: a job, with its headers; JSON of any kind."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import IO, Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from job_store import jobs
from job_store.records import JobRecord
from service.accounts.keys import Caller
from service.http.clients import while_connected
from service.http.negotiation import is_unchanged
from service.http.representations import job_document, job_etag
from service.parts import Parts

SOON_S = 1
LATER_S = 10
LOOK_S = 0.05
"""A job that was just made is looked at this soon, whether its end was told or not."""
CHUNK_BYTES = 2**18


def json_answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Any document as JSON."""
    return Response(orjson.dumps(document), status, headers, media_type="application/json")


def file_answer(file: IO[bytes], headers: dict[str, str], media: str) -> Response:
    """The content of a file, which is closed at the end."""
    size = file.seek(0, os.SEEK_END)
    return StreamingResponse(_chunks(file), headers=headers | {"Content-Length": str(size)}, media_type=media)


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


def retry_after(record: JobRecord) -> str:
    """Seconds after which it is worth asking again: the estimate where there is one, within reason."""
    if record.eta_s is None:
        return str(SOON_S)
    return str(max(SOON_S, min(LATER_S, round(record.eta_s))))


def job_answer(
    request: Request, record: JobRecord, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A job, or 304 where the client has this version of it."""
    etag = job_etag(record)
    headers = {"ETag": etag} | (headers or {})
    if not record.is_done:
        headers["Retry-After"] = retry_after(record)
    if request.method == "GET" and is_unchanged(request, etag):
        return Response(None, 304, headers)
    return json_answer(job_document(record), status, headers)


async def after_wait(
    request: Request, parts: Parts, caller: Caller, job_id: str, wait_s: float | None, known: JobRecord | None = None
) -> tuple[JobRecord, dict[str, str]]:
    """The job at its end, or when the wait is over, as it is when this process ends; and the header that tells so.

    With too many that wait already it is answered at once: a preference may be ignored (RFC 7240).

    Args:
        known: The job as it was a moment ago.

    Raises:
        Unauthenticated: The key was revoked meanwhile.
    """
    is_granted = wait_s is not None and parts.waits.has_room(caller.owner)
    if not wait_s or not is_granted or (known is not None and known.is_done):
        record = await parts.store.run(jobs.get(job_id, caller.sees)) if known is None else known
    else:
        async with parts.waits.taken(caller.owner):
            with parts.keyring.following(caller):
                end = _ended(parts, caller, job_id, time.monotonic() + wait_s, is_known=known is not None)
                record = await while_connected(request, end)
    return record, {"Preference-Applied": f"wait={wait_s:g}"} if is_granted else {}


async def _ended(parts: Parts, caller: Caller, job_id: str, deadline: float, is_known: bool) -> JobRecord:
    """A job known a moment ago is looked at when its end is told, or soon, lest that was told before the watch."""
    async with parts.feed.watch(job_id, end_only=True) as watch:
        if is_known and await watch.changed(min(LOOK_S, deadline - time.monotonic())):
            await parts.keyring.confirm(caller)
        record = await parts.store.run(jobs.get(job_id, caller.sees))
        while not (record.is_done or parts.feed.is_ending) and (left_s := deadline - time.monotonic()) > 0:
            if await watch.changed(left_s):
                await parts.keyring.confirm(caller)
                record = await parts.store.run(jobs.get(job_id, caller.sees))
        return record
