"""Error code -> HTTP status, and every error as a problem (RFC 9457)."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from api_schemas.errors import (
    FieldError,
    InternalError,
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
    PathPatchingError,
    Problem,
    QuotaExceeded,
)
from service.accounts.rate_fields import rate_fields
from service.http.prefix import route_path

PROBLEM_TYPE = "application/problem+json"
ERROR_PAGES = "https://pathpatch.dev/errors/"

STATUS: dict[str, int] = {
    "malformed_request": 400,
    "malformed_json": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_job": 404,
    "unknown_batch": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "idempotency_key_in_flight": 409,
    "job_not_cancellable": 409,
    "job_still_running": 409,
    "no_result": 409,
    "result_expired": 410,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_spec": 422,
    "invalid_parameter": 422,
    "idempotency_key_reused": 422,
    "rate_limited": 429,
    "quota_exceeded": 429,
    "internal": 500,
    "service_ending": 503,
    "service_busy": 503,
    "store_unavailable": 503,
    "store_full": 503,
}
"""Codes that a request can meet; codes that only a failed job's ``error`` carries are absent, and count as 500."""

RETRY_AFTER_S = {408: 1, 409: 1, 429: 5, 503: 2}
"""Seconds to wait before a retryable request is sent again, where the error does not say better."""


CLIENT_LEFT = 499
"""What logs call a request whose client closed the connection before its answer, as nginx does."""


def status_of(code: str) -> int:
    """The HTTP status that goes with an error code."""
    return STATUS.get(code, 500)


def problem_of(error: PathPatchingError, instance: str | None = None, request_id: str | None = None) -> Problem:
    """The error as clients see it."""
    listed = getattr(error, "errors", None) or (
        [FieldError(pointer=error.pointer, message=error.detail)] if error.pointer is not None else []
    )
    return Problem(
        type=ERROR_PAGES + error.code,
        title=error.title,
        status=status_of(error.code),
        detail=error.detail if not hasattr(error, "errors") else str(error),
        instance=instance,
        code=error.code,
        retryable=error.retryable,
        request_id=request_id,
        errors=listed,
    )


def problem_response(error: PathPatchingError, request: Request, headers: Mapping[str, str] | None = None) -> Response:
    """The error as a response, with ``Retry-After`` where trying again makes sense."""
    problem = problem_of(error, request.url.path, request.scope.get("state", {}).get("request_id"))
    sent = dict(headers or {}) | dict(getattr(error, "headers", {}))
    if error.retryable and problem.status in RETRY_AFTER_S:
        wait_s = getattr(error, "retry_after_s", None) or RETRY_AFTER_S[problem.status]
        sent.setdefault("Retry-After", str(max(1, ceil(wait_s))))
    if problem.status == 401:
        sent["WWW-Authenticate"] = 'Bearer realm="pathpatch"'
    if problem.status == 408:
        sent["Connection"] = "close"
    body = problem.model_dump_json(exclude_none=True).encode()
    return Response(body, problem.status, sent, media_type=PROBLEM_TYPE)


async def _known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PathPatchingError)
    request.state.error_code = error.code
    headers: dict[str, str] = {}
    if isinstance(error, QuotaExceeded):
        headers = await rate_fields(request.app.state.parts.store, request.state.caller, is_refused=True)
    return problem_response(error, request, headers)


async def _routing_error(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405."""
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    if error.status_code == 405:
        allowed = ", ".join(allowed_methods(request))
        if method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed})
        refused = MethodNotAllowed(f"{method} does not go with {path}: it takes {allowed}")
        return problem_response(refused, request, {"Allow": allowed})
    if error.status_code == 404:
        return problem_response(NotFound(f"there is no route {path}: /docs lists all routes"), request)
    return problem_response(InternalError("The request could not be answered."), request)


def allowed_methods(request: Request) -> list[str]:
    """The methods of all routes that this path fits; where there is GET there is HEAD."""
    routes: list[Route] = request.app.state.routes
    path = route_path(request.scope)
    found = {"OPTIONS"}.union(*(route.methods or () for route in routes if route.path_regex.match(path)))
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


async def _parameter_error(request: Request, error: Exception) -> Response:
    """FastAPI's refusal of a query parameter, path or header."""
    assert isinstance(error, RequestValidationError)
    listed = [FieldError(pointer=_pointer(entry["loc"]), message=_sentence(entry)) for entry in error.errors()]
    return problem_response(InvalidParameter.listing(listed), request)


def _pointer(location: tuple[int | str, ...]) -> str:
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _sentence(entry: Mapping[str, Any]) -> str:
    given = entry.get("input")
    message = str(entry.get("msg", "is not valid"))
    return message if given is None else f"{message[:1].lower()}{message[1:]}, not {str(given)[:80]!r}"


async def _client_left(request: Request, error: Exception) -> Response:
    """Nobody reads this; the log and the metrics show it."""
    return Response(status_code=CLIENT_LEFT)


HANDLERS: dict[Any, Any] = {
    PathPatchingError: _known_error,
    HTTPException: _routing_error,
    RequestValidationError: _parameter_error,
    ClientDisconnect: _client_left,
}
"""Exception -> handler, for the application; whatever else is raised becomes a 500 in ``service.http.requests``."""
