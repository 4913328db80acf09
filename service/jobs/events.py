"""A job's events as server-sent events: from the last one seen, with no gap and no repeat, to the end of the job."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson

from api_schemas.errors import InvalidParameter, StoreUnavailable, Unauthenticated, UnknownJob
from job_store import jobs
from job_store.changes import ChangeFeed
from job_store.records import StoredEvent
from job_store.store import AsyncJobStore
from service.http.representations import event_document

COMMENT_EVERY_S = 15.0
RECONNECT_MS = 2000
FIRST = "0"
_EVENT_ID = re.compile(r"\d{1,19}(-\d{1,19})?", re.ASCII)


def event_id(given: str | None, pointer: str) -> str:
    """Where to resume: an event's id, or the beginning.

    Raises:
        InvalidParameter: It is not the id of an event.
    """
    if not given:
        return FIRST
    if not _EVENT_ID.fullmatch(given):
        raise InvalidParameter(f"{given[:80]!r} is not the id of an event, such as 1732354200000-0", pointer)
    return given


def as_text(event: StoredEvent) -> bytes:
    """One event in the text/event-stream format."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        event.id.encode(),
        event.type.encode(),
        orjson.dumps(event_document(event)),
    )


async def stream(
    store: AsyncJobStore,
    feed: ChangeFeed,
    job_id: str,
    owner: str | None,
    after: str,
    identify: Callable[[], Awaitable[object]],
) -> AsyncIterator[bytes]:
    """Events after ``after``, as they happen, with a comment in every quiet quarter of a minute.

    Args:
        identify: Raises ``Unauthenticated`` as soon as the caller's key is no longer valid.
    """
    yield b"retry: %d\n\n" % RECONNECT_MS
    async with feed.watch(job_id) as watch:
        while True:
            try:
                await identify()
                page = await store.run(jobs.events(job_id, owner, after=after))
            except UnknownJob:
                return  # deleted meanwhile: nothing will follow
            except (StoreUnavailable, Unauthenticated):
                return  # the client reconnects with its last id, and is told 503 until the store is back, or 401
            for event in page.events:
                yield as_text(event)
                after = event.id
            if page.has_more:
                continue
            if page.is_done or feed.is_ending:
                return  # a client that has not seen the job's end reconnects with its last id
            if not await watch.changed(COMMENT_EVERY_S):
                yield b": still here\n\n"
