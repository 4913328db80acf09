"""Routes called directly where a request has no query: FastAPI documents them, and answers where there is one.

What it does for each request (contexts for dependencies that end, validation of fields) takes a third of a small
request's time, and without a query there are only strings to pass on.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from inspect import signature
from types import NoneType
from typing import Any, get_args

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

Dependency = Callable[[Request], Awaitable[Any]]


class DirectRoute(Route):
    """The short way of a documented route."""

    def __init__(self, documented: APIRoute, first: Sequence[Dependency]) -> None:
        """``first`` are the dependencies of all routes, in their order."""
        self.documented = documented
        self._first = first
        super().__init__(documented.path, self.answer, methods=documented.methods)

    async def answer(self, request: Request) -> Response:
        """What the documented function returns."""
        found = {dependency: await dependency(request) for dependency in self._first}
        answer: Response = await _called(self.documented.dependant, request, found)
        return answer

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route, without a query alone."""
        if scope["type"] != "http" or scope["query_string"]:
            return Match.NONE, {}
        match, found = super().matches(scope)
        return match, {**found, "route": self.documented}


def direct(routes: Sequence[BaseRoute], first: Sequence[Dependency]) -> Iterator[DirectRoute]:
    """The short ways of those routes that have one."""
    for route in routes:
        if isinstance(route, APIRoute) and _is_plain(route.dependant) and _is_response(route.endpoint):
            yield DirectRoute(route, first)


def _is_response(endpoint: Callable[..., Any]) -> bool:
    returned = signature(endpoint).return_annotation
    return isinstance(returned, type) and issubclass(returned, Response)


def _is_plain(dependant: Dependant) -> bool:
    """Whether it reads, without a query, only the request, strings of its path, and headers that may be absent."""
    if (
        dependant.cookie_params
        or dependant.body_params
        or any(field.field_info.is_required() for field in dependant.query_params)
    ):
        return False
    strings = [
        *(field.field_info.annotation is str for field in dependant.path_params),
        *(set(get_args(field.field_info.annotation)) == {str, NoneType} for field in dependant.header_params),
        *(not field.field_info.metadata for field in (*dependant.path_params, *dependant.header_params)),
    ]
    return all(strings) and all(map(_is_plain, dependant.dependencies))


async def _called(dependant: Dependant, request: Request, found: dict[Any, Any]) -> Any:
    """What a function returns, whose dependencies are found once per request."""
    arguments = {}
    for needed in dependant.dependencies:
        if needed.call not in found:
            found[needed.call] = await _called(needed, request, found)
        if needed.name is not None:
            arguments[needed.name] = found[needed.call]
    if dependant.request_param_name is not None:
        arguments[dependant.request_param_name] = request
    for field in dependant.path_params:
        arguments[field.name] = request.path_params[field.alias]
    for field in dependant.header_params:
        arguments[field.name] = request.headers.get(field.alias)
    for field in dependant.query_params:
        arguments[field.name] = field.get_default()
    assert dependant.call is not None
    return await dependant.call(**arguments)
