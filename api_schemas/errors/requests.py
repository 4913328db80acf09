"""What is wrong with a request, whatever it asks for."""

from api_schemas.errors.base import FieldError, PathPatchingError, first_of


class MalformedRequest(PathPatchingError):
    """Bytes that are not an HTTP request, or a request whose headers are too long."""

    code = "malformed_request"
    title = "The request is not valid HTTP"


class RequestTimeout(PathPatchingError):
    """A request whose headers or body took too long to arrive."""

    code = "request_timeout"
    title = "The request took too long to arrive"
    retryable = True


class MalformedJson(PathPatchingError):
    """A body that is not strict JSON: bad syntax, NaN, duplicate keys, huge integers, or too deep nesting."""

    code = "malformed_json"
    title = "The body is not valid JSON"


class InvalidParameter(PathPatchingError):
    """An invalid query parameter, path or header."""

    code = "invalid_parameter"
    title = "A parameter of the request is invalid"

    def __init__(self, detail: str, pointer: str | None = None, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail, pointer)
        self.errors = errors or ([] if pointer is None else [FieldError(pointer=pointer, message=detail)])

    @classmethod
    def listing(cls, errors: list[FieldError]) -> "InvalidParameter":
        """One error that lists several."""
        return cls(first_of(errors), errors=errors)


class Unauthenticated(PathPatchingError):
    """No API key, or one that is unknown, revoked or expired."""

    code = "unauthenticated"
    title = "A valid API key is required"


class Forbidden(PathPatchingError):
    """An API key without the scope that the route needs."""

    code = "forbidden"
    title = "The API key does not allow this"


class NotFound(PathPatchingError):
    """No such route, or no such resource that this API key may see."""

    code = "not_found"
    title = "Not found"


class MethodNotAllowed(PathPatchingError):
    """A method that the route does not have."""

    code = "method_not_allowed"
    title = "The route does not have this method"


class NotAcceptable(PathPatchingError):
    """None of the media types in `Accept` can be served."""

    code = "not_acceptable"
    title = "No acceptable format"


class IdempotencyKeyInFlight(PathPatchingError):
    """The first request with this idempotency key has not been answered yet."""

    code = "idempotency_key_in_flight"
    title = "The first request with this Idempotency-Key is still being answered"
    retryable = True


class IdempotencyKeyReused(PathPatchingError):
    """The idempotency key was used with another body."""

    code = "idempotency_key_reused"
    title = "This Idempotency-Key was used with another body"


class NoResult(PathPatchingError):
    """The job failed or was cancelled, so it has no result."""

    code = "no_result"
    title = "The job has no result"


class ResultExpired(PathPatchingError):
    """The result was erased after the retention time, or the job passed its `expires_after_s`."""

    code = "result_expired"
    title = "The job or its result has expired"


class BodyTooLarge(PathPatchingError):
    """A body with more bytes than the service accepts."""

    code = "body_too_large"
    title = "The body is too large"


class UnsupportedMediaType(PathPatchingError):
    """A body that is not declared as JSON."""

    code = "unsupported_media_type"
    title = "The body must be JSON"


class RateLimited(PathPatchingError):
    """One API key, or all keys together, exceeds what it may use at the same time."""

    code = "rate_limited"
    title = "Too many requests"
    retryable = True


class InternalError(PathPatchingError):
    """A bug of the service; its log has the details under the request id."""

    code = "internal"
    title = "Internal error"
    retryable = True


class ServiceEnding(PathPatchingError):
    """The service was stopped, and the request took longer than its grace period."""

    code = "service_ending"
    title = "The service is stopping or restarting"
    retryable = True


class ServiceBusy(PathPatchingError):
    """All API keys together use all that the service has of a resource."""

    code = "service_busy"
    title = "The service is busy"
    retryable = True


# Jobs and the store
