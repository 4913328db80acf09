"""Straight from the frame around every request to a route without parts of a path: no search among all routes."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.direct import DirectRoute
from service.http.prefix import route_path


class ShortWay:
    """The innermost layer; whatever it has no route for goes on to FastAPI."""

    def __init__(self, app: ASGIApp, routes: Sequence[DirectRoute], handlers: Mapping[type[Exception], Any]) -> None:
        """``handlers`` answer for what a route raises, as FastAPI's exception handlers do."""
        self._app = app
        self._handlers = handlers
        plain = [route for route in routes if "{" not in route.path]
        self._routes = {(method, route.path): route for route in plain for method in route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_plain = scope["type"] == "http" and not scope["query_string"]
        route = self._routes.get((scope["method"], route_path(scope))) if is_plain else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope.update(route=route.documented, path_params={})
        request = Request(scope, receive, send)
        try:
            answer = await route.answer(request)
        except Exception as error:
            handler = next((self._handlers[kind] for kind in type(error).__mro__ if kind in self._handlers), None)
            if handler is None:
                raise
            answer = await handler(request, error)
        await answer(scope, receive, send)
