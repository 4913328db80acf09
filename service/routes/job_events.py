"""What happened to a job: as a list, or as it happens."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api_schemas.jobs import JobEvent, ListOf
from job_store import jobs
from service.accounts.keys import Caller, Reader, identified
from service.http import documented as doc
from service.http.answers import json_answer
from service.http.negotiation import media_type
from service.http.parameters import JobId, Limit
from service.http.representations import event_document, page
from service.jobs.events import event_id, stream
from service.parts import Parts, PartsOf

router = APIRouter(tags=["jobs"])

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
_EVENT_ID = "1732354200000-0"
_EXAMPLE = (
    "retry: 2000\n\nid: 1732354200000-0\nevent: status\n"
    'data: {"id":"1732354200000-0","object":"event","type":"status","created_at":"2024-11-23T09:30:00.000Z",'
    '"data":{"status":"running"}}\n\n: still here\n\n'
)
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get(
    "/v1/jobs/{job_id}/events",
    summary="A job's events",
    operation_id="list_job_events",
    responses={
        200: {
            "description": "The events so far, oldest first; or a stream of them, which ends with the job.",
            "model": ListOf[JobEvent],
            "content": {EVENT_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        **doc.answer(204, "As a stream: nothing follows this `Last-Event-ID`, so do not reconnect."),
        **doc.problems(
            "unknown_job", "not_acceptable", rate_limited="As many event streams are open as are allowed: poll"
        ),
    },
)
async def list_job_events(
    request: Request,
    job_id: JobId,
    parts: PartsOf,
    caller: Reader,
    limit: Limit = 100,
    after: Annotated[
        str | None, Query(max_length=64, description="Id of the last event seen.", examples=[_EVENT_ID])
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="Id of the last event seen; wins over `after`.", examples=[_EVENT_ID])
    ] = None,
) -> Response:
    """States, progress and warnings. By `Accept: text/event-stream` they come as they happen."""
    media = media_type(request, (JSON, EVENT_STREAM))
    seen = event_id(last_event_id, "/header/Last-Event-ID") if last_event_id else event_id(after, "/query/after")
    first = await parts.store.run(jobs.events(job_id, caller.sees, after=seen, limit=limit))
    if media == JSON:
        return json_answer(page([event_document(event) for event in first.events], first.has_more))
    if first.is_done and not first.events:
        return Response(status_code=204)
    if request.state.is_head:
        return Response(headers=_STREAM_HEADERS, media_type=EVENT_STREAM)
    events = stream(parts.store, parts.feed, job_id, caller.sees, seen, lambda: identified(request))
    return _Followed(parts, caller, events)


class _Followed(StreamingResponse):
    """A stream of events, counted while it is open; it ends when its key is revoked."""

    def __init__(self, parts: Parts, caller: Caller, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers=_STREAM_HEADERS, media_type=EVENT_STREAM)
        self._parts = parts
        self._caller = caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams = self._parts.streams
        try:
            async with streams.taken(self._caller.owner):
                self._count()
                with self._parts.keyring.following(self._caller):
                    await super().__call__(scope, receive, send)
        finally:
            self._count()

    def _count(self) -> None:
        self._parts.metrics.event_streams.set(self._parts.streams.taken_in_all)
