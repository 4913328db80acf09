"""A service below a path of a proxy: `https://lab.example.org/pathpatch/v1/jobs`."""

import re

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORWARDED_PREFIX = b"x-forwarded-prefix"
LONGEST = 200
_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[\w.~-]+)+", re.ASCII)


def is_prefix(path: str) -> bool:
    """Whether a path may stand before ours: `/pathpatch`, without a slash at its end."""
    return len(path) <= LONGEST and _PREFIX.fullmatch(path) is not None


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers by name, the first of each: an ordinary dict, since most that are asked for are absent."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def route_path(scope: Scope) -> str:
    """The path of one of our routes, without a proxy's."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class PathPrefix:
    """Puts the proxy's path before ours, whether the proxy has taken it off a request or not.

    Routing takes it off again (ASGI's ``root_path``), OpenAPI's ``servers`` has it, and so does every ``Location``.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        """``root_path``: the operator's; where it is empty, a request's ``X-Forwarded-Prefix`` counts."""
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = self._prefix(scope) if scope["type"] == "http" else ""
        if not prefix:
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path == prefix:  # a page's own files are found beside it, so its address must end in a slash
            query = f"?{Request(scope).url.query}" if scope["query_string"] else ""
            await RedirectResponse(f"{prefix}/{query}")(scope, receive, send)
            return
        is_whole = path.startswith(f"{prefix}/")
        below = {**scope, "root_path": prefix, "path": path if is_whole else prefix + path}
        await self._app(below, receive, lambda message: send(_located(message, prefix)))

    def _prefix(self, scope: Scope) -> str:
        if self._root_path:
            return self._root_path
        if not any(name == FORWARDED_PREFIX for name, _ in scope["headers"]):
            return ""
        told = headers_of(scope)[FORWARDED_PREFIX.decode()].rstrip("/")
        return told if is_prefix(told) else ""


def _located(message: Message, prefix: str) -> Message:
    """A response whose ``Location`` is found through the proxy."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        location = headers.get("location", "")
        if location.startswith("/") and not location.startswith(("//", f"{prefix}/")):
            headers["location"] = prefix + location
    return message
