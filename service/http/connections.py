"""Connections that nobody can hold open for nothing: a request's head and the reading of an answer have deadlines.

uvicorn itself limits only the pause between two requests. The body's deadline is in :mod:`service.http.bodies`.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api_schemas.errors import MalformedRequest, PathPatchingError, RequestTimeout
from service.errors import PROBLEM_TYPE, RETRY_AFTER_S, problem_of
from service.http.requests import ALWAYS, new_request_id

STATUS_LINE = b"HTTP/1.1 "
MOST_HEAD_BYTES = 65_536
"""Of a request's line and headers."""


class WholeAnswers:
    """A transport that sends an answer's head together with what follows it: uvicorn writes twice, and both wake."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it; a head at the latest in the next round of the loop."""
        if not self._head and data.startswith(STATUS_LINE):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        head, self._head = self._head, b""
        self._transport.write(head + data)

    def close(self) -> None:
        """Close once all is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():  # else nobody is there any more
            self._transport.write(head)


class TimedConnection(HttpToolsProtocol):
    """uvicorn's connection with three more limits: the time and size of a request's head, and a stalled reader."""

    def __init__(self, config: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        settings = config.app.state.parts.settings
        self._head_timeout_s: float = settings.head_timeout_s
        self._stall_timeout_s: float = settings.stall_timeout_s
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._is_in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first request's headers."""
        super().connection_made(transport)
        self.transport = WholeAnswers(transport, self.loop)  # type: ignore[assignment]
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all deadlines."""
        self._cancel_deadline()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the deadline of a request's headers with its first byte."""
        was_in_head = self._is_in_head
        if self._deadline is None and self._is_idle():
            self._set_deadline()
        super().data_received(data)
        if was_in_head and self._is_in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(_too_large_head())

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The headers came in time."""
        self._is_in_head = False
        self._cancel_deadline()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MOST_HEAD_BYTES:
            self._refuse(_too_large_head())
            raise ValueError  # the parser goes no further
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The answer has been written."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._set_deadline()  # answered before the whole body had come: the rest is not waited for much longer

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP as a problem document."""
        self._refuse(MalformedRequest("this is not an HTTP/1.1 request"))

    def pause_writing(self) -> None:
        """The client reads too slowly: it now has a deadline."""
        super().pause_writing()
        if self._stall is None:
            self._stall = self.loop.call_later(self._stall_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def _set_deadline(self) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_later(self._head_timeout_s, self._give_up)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_idle(self) -> bool:
        """Whether every request so far has been answered."""
        return self.cycle is None or self.cycle.response_complete

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_in_head:
            self._refuse(RequestTimeout(f"the request's headers did not arrive within {self._head_timeout_s:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: PathPatchingError) -> None:
        """Answer without a request to answer, unless another answer is under way, and close."""
        self._cancel_deadline()
        if self._is_idle() and not self.transport.is_closing():
            self.transport.write(_raw_answer(error))
        self.transport.close()


def _too_large_head() -> MalformedRequest:
    return MalformedRequest(f"the request's headers have more than {MOST_HEAD_BYTES} bytes")


def _raw_answer(error: PathPatchingError) -> bytes:
    problem = problem_of(error, request_id=new_request_id())
    body = problem.model_dump_json(exclude_none=True).encode()
    headers = {
        **ALWAYS,
        "X-Request-Id": problem.request_id,
        "Content-Type": PROBLEM_TYPE,
        "Content-Length": len(body),
        "Connection": "close",
        **({"Retry-After": RETRY_AFTER_S[problem.status]} if problem.retryable else {}),
    }
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
