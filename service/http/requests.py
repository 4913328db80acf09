"""Around every request: an id, a log line, metrics, HEAD, security headers, and a last resort for our own faults."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_schemas.errors import Forbidden, InternalError, ServiceEnding
from runtime import logs, tracing
from service.errors import problem_response
from service.http.origins import Names, is_foreign
from service.http.prefix import headers_of, route_path
from service.telemetry.prometheus import RequestMetrics
from service.telemetry.spans import request_span
from service.version import package_version

LOGGER = logging.getLogger("service.http.requests")
_GOOD_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
WRONG_NAME = (
    "without API keys the service answers to localhost only: the Host header names another "
    "(PATHPATCH_ALLOWED_HOSTS lists more)"
)
QUIET = ("/livez", "/readyz", "/metrics", "/web/")
"""Probed every few seconds, or files of the page: logged at debug level only, and not traced."""

ALWAYS = {
    "Pathpatch-Version": package_version(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Headers of every response; by the version a client can tell that it is older or newer than the service."""
_RAW = [(name.lower().encode(), value.encode()) for name, value in {**ALWAYS, "Cache-Control": "no-cache"}.items()]
"""Those, and one that many responses have already."""


def new_request_id() -> str:
    """Identifier of a request that brings none."""
    return f"req_{secrets.token_hex(13)}"


class RequestFrame:
    """The outermost layer of the application."""

    def __init__(
        self, app: ASGIApp, metrics: RequestMetrics, names: Names | None, origins: Collection[str] = ()
    ) -> None:
        """Build the layer.

        Args:
            names: By which it must be called; None where keys are required, so that any will do.
            origins: Of other sites whose pages may change something.
        """
        self._app = app
        self._metrics = metrics
        self._names = names
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, send, self._origins).run(self._app, receive, self._metrics, self._names)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, send: Send, origins: Collection[str]) -> None:
        self._send = send
        self._origins = origins
        self._path = route_path(scope)
        self._is_head = scope["method"] == "HEAD"
        self._scope = {**scope, "method": "GET"} if self._is_head else scope
        self._headers = headers_of(scope)
        asked = self._headers.get("prefer", ""), self._headers.get("accept", "")
        self._waits = "wait" in asked[0] or "text/event-stream" in asked[1]
        given = self._headers.get("x-request-id", "")
        self.request_id = given if _GOOD_REQUEST_ID.fullmatch(given) else new_request_id()
        self._state: dict[str, Any] = self._scope.setdefault("state", {})
        self._state |= {"request_id": self.request_id, "is_head": self._is_head}
        self.status = 0

    async def run(self, app: ASGIApp, receive: Receive, metrics: RequestMetrics, names: Names | None) -> None:
        logs.request_id.set(self.request_id)
        started = time.perf_counter()
        metrics.in_flight.inc()
        try:
            with self._traced():
                await self._answer(app, receive, names)
        finally:
            metrics.in_flight.dec()
            self._record(metrics, time.perf_counter() - started)

    def _traced(self) -> AbstractContextManager[None]:
        if tracing.is_on() and not self._path.startswith(QUIET):
            return request_span(self._scope, lambda: self.status)
        return nullcontext()

    def _refused(self, names: Names | None) -> Forbidden | None:
        if names is not None and not names.has(self._headers.get("host", "")):
            return Forbidden(WRONG_NAME)
        if is_foreign(self._scope["method"], self._headers, self._origins):
            return Forbidden("a page of another site may change nothing here: its Origin or Sec-Fetch-Site says so")
        return None

    async def _answer(self, app: ASGIApp, receive: Receive, names: Names | None) -> None:
        request = Request(self._scope)
        if (error := self._refused(names)) is not None:
            await problem_response(error, request)(self._scope, receive, self.send)
            return
        try:
            await app(self._scope, receive, self.send)
        except asyncio.CancelledError:
            # uvicorn's last word to what outlasts the grace. A stream that has begun can only be cut.
            if self.status:
                raise
            ending = ServiceEnding("The service was told to end before this was answered: send it again.")
            await problem_response(ending, request)(self._scope, receive, self.send)
        except Exception:
            # The last resort: whatever went wrong is ours, the log has it, and the client gets a problem.
            LOGGER.exception("fault", extra={"method": self._scope["method"], "path": self._scope["path"]})
            if self.status:
                raise
            fault = InternalError("The service met a fault of its own; its log has the details under this request id.")
            await problem_response(fault, request)(self._scope, receive, self.send)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message["headers"]}
            ours = [header for header in _RAW if header[0] not in given]
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode()), *ours]
        elif self._is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _record(self, metrics: RequestMetrics, seconds: float) -> None:
        route = getattr(self._scope.get("route"), "path", "unknown")
        method = "HEAD" if self._is_head else self._scope["method"]
        metrics.observe(method, route, self.status, None if self._waits else seconds)
        level = logging.DEBUG if self._path.startswith(QUIET) else logging.INFO
        LOGGER.log(
            level,
            "request",
            extra={
                "method": method,
                "path": self._scope["path"],
                "status": self.status,
                "duration_ms": round(seconds * 1000, 2),
                "key_id": self._state.get("key_id"),
                "job_id": self._state.get("job_id"),
                "batch_id": self._state.get("batch_id"),
                "code": self._state.get("error_code"),
            },
        )
