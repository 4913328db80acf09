"""Errors that users see: a stable code, and a sentence that names the given value and the allowed ones."""

from typing import Annotated

from pydantic import Field

from api_schemas.frozen import Frozen


class FieldError(Frozen):
    """One error in a request."""

    pointer: Annotated[str, Field(examples=["/patch/senders/0/head"])]
    """JSON pointer to the field."""
    message: Annotated[str, Field(examples=["head 13 does not exist: this model has heads 0 to 11"])]
    """The given value and the allowed ones."""


class Problem(Frozen):
    """An error in the format of RFC 9457 (`application/problem+json`)."""

    type: Annotated[str, Field(examples=["https://pathpatch.dev/errors/invalid_spec"])]
    """URI of the kind of error; its last part is the code."""
    title: Annotated[str, Field(examples=["The spec cannot run"])]
    """The kind of error, in words."""
    status: Annotated[int, Field(examples=[422])]
    """HTTP status."""
    detail: Annotated[str, Field(examples=["head 13 does not exist: this model has heads 0 to 11"])]
    """This error, in words."""
    instance: Annotated[str | None, Field(examples=["/v1/jobs"])] = None
    """Path of the request or job."""
    code: Annotated[str, Field(examples=["invalid_spec"])]
    """Stable name of the kind of error."""
    retryable: Annotated[bool, Field(examples=[False])] = False
    """Whether the same request may succeed later."""
    request_id: Annotated[str | None, Field(examples=["req_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])] = None
    """Quote this when asking for help."""
    errors: Annotated[list[FieldError], Field(examples=[[]])] = []
    """Every invalid field."""


class PathPatchingError(Exception):
    """Base of all errors that users see.

    ``code`` is stable, ``title`` names the kind of error, ``pointer`` is the JSON pointer of the invalid field.
    """

    code = "internal"
    title = "Internal error"
    retryable = False

    def __init__(self, detail: str, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer


def first_of(errors: list[FieldError]) -> str:
    """The first three errors in one line. An error of the whole body has an empty pointer, which is left out."""
    return "; ".join(f"{error.pointer}: {error.message}".removeprefix(": ") for error in errors[:3])


class InvalidSpec(PathPatchingError):
    """A spec that cannot run; ``errors`` lists every invalid field."""

    code = "invalid_spec"
    title = "The spec cannot run"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(first_of(errors))
        self.errors = errors


class Misfit(ValueError):
    """Valid fields that contradict each other; raised inside validators.

    ``problems`` holds one pair per field: its path (relative to the model that raises) and the sentence to show.
    """

    def __init__(self, *problems: tuple[tuple[str | int, ...], str]) -> None:
        super().__init__("; ".join(sentence for _, sentence in problems))
        self.problems = problems


# The registry of models


class UnknownModel(InvalidSpec):
    """A model name that is not in the registry."""

    def __init__(self, name: str, known: list[str]) -> None:
        message = f"There is no model {name!r} on this server: its models are {', '.join(sorted(known))}."
        super().__init__([FieldError(pointer="/model/name", message=message)])


class ModelUnavailable(InvalidSpec):
    """A registered model whose files are missing, broken, or of another architecture.

    ``reason`` names files but no folder: clients read it, and the server's paths are private.
    """

    def __init__(self, name: str, reason: str) -> None:
        message = f"Model {name!r} is not available on this server: {reason}"
        super().__init__([FieldError(pointer="/model/name", message=message)])
        self.reason = reason


# Requests over HTTP


def without_folder(sentence: str, folder: str) -> str:
    """The sentence for clients, without the server's folder. The operator's log keeps the folder."""
    return sentence.replace(f" {folder}", "").replace(folder, "the folder") if folder else sentence


class ModelNotFound(PathPatchingError):
    """A worker did not find a model's files."""

    code = "model_not_found"
    title = "The model's files were not found"

    def __init__(self, name: str, looked_for: str, folder: str = "") -> None:
        super().__init__(f"Model {name!r} was not found: {looked_for}")
        self.detail = without_folder(self.detail, folder)


class UnusableModel(PathPatchingError):
    """A model's files exist but are broken, unsafe, or of another architecture."""

    code = "unusable_model"
    title = "The model's files cannot be used"

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"The model in the folder {where} cannot be used: {reason}.")
        self.detail = without_folder(self.detail, where)


class SelfCheckFailed(PathPatchingError):
    """A model's forward pass on this device differs from the numbers stored when its weights were processed."""

    code = "self_check_failed"
    title = "The device computes wrong numbers"

    def __init__(self, name: str, device: str, deviation: float, allowed: float) -> None:
        super().__init__(
            f"Model {name!r} on {device}: the logits of the self-check deviate by {deviation:.1e} (relative) from the "
            f"stored ones; at most {allowed:.0e} is allowed. This worker takes no jobs."
        )


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


class StoreUnavailable(PathPatchingError):
    """The job store does not answer."""

    code = "store_unavailable"
    title = "The job store does not answer"
    retryable = True


class StoreFull(PathPatchingError):
    """The job store's memory or disk is full."""

    code = "store_full"
    title = "The job store is full"
    retryable = True


class UnknownJob(PathPatchingError):
    """The job does not exist or belongs to another API key."""

    code = "unknown_job"
    title = "There is no such job"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}: it was deleted, never existed, or belongs to another key.")


class UnknownBatch(PathPatchingError):
    """The batch does not exist or belongs to another API key."""

    code = "unknown_batch"
    title = "There is no such batch"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id!r}: it never existed, has expired, or belongs to another key.")


class JobNotCancellable(PathPatchingError):
    """The job has already ended."""

    code = "job_not_cancellable"
    title = "The job has already ended"

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"Job {job_id} has {status}: only a queued or running job can be cancelled.")


class JobStillRunning(PathPatchingError):
    """A running job cannot be deleted."""

    code = "job_still_running"
    title = "The job is still running"

    def __init__(self, job_id: str, status: str) -> None:
        first = "wait until it has ended" if status == "cancelling" else "cancel it and wait until it has ended"
        super().__init__(f"Job {job_id} is {status}: {first}, then delete it.")


ADVICE = {"store_bytes": "Delete jobs, or wait until results expire."}
"""Advice for limits that waiting alone does not free."""


class QuotaExceeded(PathPatchingError):
    """A limit of the API key was reached. A request that exceeds the limit by itself is not retryable.

    ``asked`` is 0 for the limit on compute, because a request's use of it is not known beforehand.
    """

    code = "quota_exceeded"
    title = "A limit of this API key was reached"
    retryable = True

    def __init__(self, limit: str, allowed: float, used: float, retry_after_s: float, asked: int = 0) -> None:
        self.retryable = asked <= allowed
        why = f"and would be at {used:g}. {ADVICE.get(limit, 'Try again later.')}"
        if not asked:
            why = f"and has used {used:g}. Try again after midnight (UTC)."
        elif not self.retryable:
            why = f"and this request alone asks for {asked}. Submit fewer jobs at once."
        super().__init__(f"{limit}: this key is allowed {allowed:g} {why}")
        self.limit = limit
        self.allowed = allowed
        self.used = used
        self.retry_after_s = retry_after_s


class DamagedData(PathPatchingError):
    """Stored data is damaged: its digest does not match."""

    code = "damaged_data"
    title = "Stored data is damaged"
    retryable = True


class WorkerLost(PathPatchingError):
    """A shard lost its worker on every attempt."""

    code = "worker_lost"
    title = "A shard lost its worker on every attempt"
    retryable = True


class ShardTimeout(PathPatchingError):
    """A shard took longer than the worker's time limit."""

    code = "shard_timeout"
    title = "A shard took too long"


class ModelChanged(PathPatchingError):
    """A model's files were replaced after a job was accepted and before it ran."""

    code = "model_changed"
    title = "The model has changed since the job was accepted"
    retryable = True

    def __init__(self, name: str, accepted: str, found: str) -> None:
        super().__init__(
            f"The job was accepted for revision {accepted} of model {name!r}, but its files are now revision {found}. "
            "Submit it again; if that fails too, service and worker read different folders."
        )


class OutOfMemory(PathPatchingError):
    """One example of one cell does not fit into memory."""

    code = "out_of_memory"
    title = "The experiment does not fit into the worker's memory"

    def __init__(self, needed_bytes: int, budget_bytes: int) -> None:
        super().__init__(
            f"One example needs about {needed_bytes / 2**20:.0f} MiB for its activations alone, and an allocation "
            f"failed with a budget of {budget_bytes / 2**20:.0f} MiB. Shorter prompts or a worker with more memory can "
            "run it."
        )


class ChecksFailed(PathPatchingError):
    """A run's checks failed, so its numbers cannot be trusted."""

    code = "checks_failed"
    title = "The run failed its checks"
