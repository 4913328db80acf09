"""The span around an HTTP request."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.datastructures import Headers
from starlette.types import Scope

from runtime import tracing


@contextmanager
def request_span(scope: Scope, status: Callable[[], int]) -> Iterator[None]:
    """Continues the caller's trace; named by the route, and described by the answer's status, once both are known."""
    method, path = scope["method"], scope["path"]
    carrier = dict(Headers(scope=scope))
    with tracing.span(method, "server", carrier, http__request__method=method, url__path=path) as span:
        yield
        if span is None:
            return
        if route := getattr(scope.get("route"), "path", None):
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status())
        for name in ("request_id", "job_id"):
            if value := scope["state"].get(name):
                span.set_attribute(f"pathpatch.{name}", value)
