"""Errors that users meet: a stable code and a sentence that names what was given and what is allowed."""

from typing import Annotated

from pydantic import Field

from api_schemas.frozen import Frozen


class FieldError(Frozen):
    """One thing wrong with a request."""

    pointer: Annotated[str, Field(examples=["/patch/senders/0/head"])]
    """JSON pointer to the field."""
    message: Annotated[str, Field(examples=["head 13 does not exist: this model has heads 0 to 11"])]
    """What was given and what is allowed."""


class Problem(Frozen):
    """An error, as RFC 9457 writes it (`application/problem+json`)."""

    type: Annotated[str, Field(examples=["https://pathpatch.dev/errors/invalid_spec"])]
    """Identifies the kind of error; ends in its code."""
    title: Annotated[str, Field(examples=["The spec cannot run"])]
    """The kind, in words."""
    status: Annotated[int, Field(examples=[422])]
    """HTTP status."""
    detail: Annotated[str, Field(examples=["head 13 does not exist: this model has heads 0 to 11"])]
    """This occurrence, in words."""
    instance: Annotated[str | None, Field(examples=["/v1/jobs"])] = None
    """Path of the request or job."""
    code: Annotated[str, Field(examples=["invalid_spec"])]
    """Stable name of the kind."""
    retryable: Annotated[bool, Field(examples=[False])] = False
    """Whether the same request may succeed later."""
    request_id: Annotated[str | None, Field(examples=["req_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])] = None
    """Quote this when asking for help."""
    errors: Annotated[list[FieldError], Field(examples=[[]])] = []
    """Every field that is wrong."""


class PathPatchingError(Exception):
    """Base of all errors that users meet.

    ``code`` is stable; ``title`` says the kind in words; ``pointer`` is the JSON pointer of the field at fault.
    """

    code = "internal"
    title = "Something went wrong on our side"
    retryable = False

    def __init__(self, detail: str, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer


def first_of(errors: list[FieldError]) -> str:
    """The first three in one line; what is wrong with the body as a whole has no pointer to name."""
    return "; ".join(f"{error.pointer}: {error.message}".removeprefix(": ") for error in errors[:3])


class InvalidSpec(PathPatchingError):
    """A spec that cannot run; carries every field that is wrong."""

    code = "invalid_spec"
    title = "The spec cannot run"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__(first_of(errors))
        self.errors = errors


class Misfit(ValueError):
    """Well-formed fields that do not go together; raised inside validators.

    ``problems`` holds, for each, the place of the field (relative to the model that raises) and the sentence to show.
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

    ``reason`` names files and no folder: clients read it, and where the server keeps its files is not their business.
    """

    def __init__(self, name: str, reason: str) -> None:
        message = f"Model {name!r} is not available on this server: {reason}"
        super().__init__([FieldError(pointer="/model/name", message=message)])
        self.reason = reason


# Requests over HTTP


def without_folder(sentence: str, folder: str) -> str:
    """For the ``detail`` that clients read; the exception's own text, for the operator's log, names the folder."""
    return sentence.replace(f" {folder}", "").replace(folder, "the folder") if folder else sentence


class ModelNotFound(PathPatchingError):
    """A worker did not find a model's files."""

    code = "model_not_found"
    title = "The model's files were not found"

    def __init__(self, name: str, looked_for: str, folder: str = "") -> None:
        super().__init__(f"Model {name!r} was not found: {looked_for}")
        self.detail = without_folder(self.detail, folder)


class UnusableModel(PathPatchingError):
    """A model's files are there and cannot be used: broken, unsafe, or of another architecture."""

    code = "unusable_model"
    title = "The model's files cannot be used"

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"The model in the folder {where} cannot be used: {reason}.")
        self.detail = without_folder(self.detail, where)


class SelfCheckFailed(PathPatchingError):
    """A model's forward pass on this device does not give the numbers stored when its weights were processed."""

    code = "self_check_failed"
    title = "The device computes wrong numbers"

    def __init__(self, name: str, device: str, deviation: float, allowed: float) -> None:
        super().__init__(
            f"Model {name!r} on {device}: the logits of the self-check deviate by {deviation:.1e} (relative) from the "
            f"stored ones, and {allowed:.0e} is allowed. This worker does not serve."
        )


class MalformedRequest(PathPatchingError):
    """Bytes that are not an HTTP request, or one with far too long headers."""

    code = "malformed_request"
    title = "This is not an HTTP request"


class RequestTimeout(PathPatchingError):
    """A request whose headers or body took too long to arrive."""

    code = "request_timeout"
    title = "The request took too long to arrive"
    retryable = True


class MalformedJson(PathPatchingError):
    """A body that is not strict JSON: syntax, NaN, duplicate keys, huge integers, or nested too deep."""

    code = "malformed_json"
    title = "The body is not valid JSON"


class InvalidParameter(PathPatchingError):
    """A query parameter, path or header that makes no sense."""

    code = "invalid_parameter"
    title = "A parameter of the request is wrong"

    def __init__(self, detail: str, pointer: str | None = None, errors: list[FieldError] | None = None) -> None:
        super().__init__(detail, pointer)
        self.errors = errors or ([] if pointer is None else [FieldError(pointer=pointer, message=detail)])

    @classmethod
    def listing(cls, errors: list[FieldError]) -> "InvalidParameter":
        """One error that carries several."""
        return cls(first_of(errors), errors=errors)


class Unauthenticated(PathPatchingError):
    """No API key, or one that is unknown, revoked or out of date."""

    code = "unauthenticated"
    title = "A valid API key is needed"


class Forbidden(PathPatchingError):
    """A key without the scope that the route needs."""

    code = "forbidden"
    title = "The API key does not allow this"


class NotFound(PathPatchingError):
    """No such route, or no such thing that this key may see."""

    code = "not_found"
    title = "There is no such thing"


class MethodNotAllowed(PathPatchingError):
    """A method that the route does not have."""

    code = "method_not_allowed"
    title = "The route does not have this method"


class NotAcceptable(PathPatchingError):
    """None of the media types in `Accept` can be served."""

    code = "not_acceptable"
    title = "No acceptable format"


class IdempotencyKeyInFlight(PathPatchingError):
    """The first request with this key has not been answered yet."""

    code = "idempotency_key_in_flight"
    title = "The first request with this Idempotency-Key is still being answered"
    retryable = True


class IdempotencyKeyReused(PathPatchingError):
    """The key came with another body before."""

    code = "idempotency_key_reused"
    title = "This Idempotency-Key came with another body before"


class NoResult(PathPatchingError):
    """The job failed or was cancelled, so it has no result."""

    code = "no_result"
    title = "The job has no result"


class ResultExpired(PathPatchingError):
    """The result was erased after the retention time, or the job passed its deadline."""

    code = "result_expired"
    title = "The job or its result has expired"


class BodyTooLarge(PathPatchingError):
    """More bytes than the service reads."""

    code = "body_too_large"
    title = "The body is too large"


class UnsupportedMediaType(PathPatchingError):
    """A body that is not declared as JSON."""

    code = "unsupported_media_type"
    title = "The body must be JSON"


class RateLimited(PathPatchingError):
    """More at the same time than one key may have, or all keys together."""

    code = "rate_limited"
    title = "Too many requests"
    retryable = True


class InternalError(PathPatchingError):
    """A fault of ours; the log has the details under the request id."""

    code = "internal"
    title = "Something went wrong on our side"
    retryable = True


class ServiceEnding(PathPatchingError):
    """The service was told to end, and the request outlasted its grace."""

    code = "service_ending"
    title = "The service is ending or restarting"
    retryable = True


class ServiceBusy(PathPatchingError):
    """All that the service has of something is in use, by several keys together."""

    code = "service_busy"
    title = "The service is busy"
    retryable = True


# Jobs and their store


class StoreUnavailable(PathPatchingError):
    """The store of jobs does not answer."""

    code = "store_unavailable"
    title = "The job store does not answer"
    retryable = True


class StoreFull(PathPatchingError):
    """The store of jobs takes no more data: its memory or its disk is full."""

    code = "store_full"
    title = "The job store is full"
    retryable = True


class UnknownJob(PathPatchingError):
    """No such job, or another key's."""

    code = "unknown_job"
    title = "There is no such job"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job {job_id!r}: it was deleted, never existed, or belongs to another key.")


class UnknownBatch(PathPatchingError):
    """No such batch, or another key's."""

    code = "unknown_batch"
    title = "There is no such batch"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id!r}: it never existed, has expired, or belongs to another key.")


class JobNotCancellable(PathPatchingError):
    """The job has succeeded or failed already."""

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


class QuotaExceeded(PathPatchingError):
    """A limit of the API key was reached; a request that alone asks for more than is allowed never fits.

    ``asked`` is 0 for the limit on computing, of which nobody knows beforehand what a request will use.
    """

    code = "quota_exceeded"
    title = "A limit of this API key was reached"
    retryable = True

    def __init__(self, limit: str, allowed: float, used: float, retry_after_s: float, asked: int = 0) -> None:
        self.retryable = asked <= allowed
        why = f"and would be at {used:g}. Try again later."
        if not asked:
            why = f"and has used {used:g}. Try again after midnight (UTC)."
        elif not self.retryable:
            why = f"and this request alone asks for {asked}. Submit fewer jobs at once."
        super().__init__(f"{limit}: this key is allowed {allowed:g} {why}")
        self.limit = limit
        self.allowed = allowed
        self.used = used
        self.retry_after_s = retry_after_s


class WorkerLost(PathPatchingError):
    """A shard's worker was lost on every attempt."""

    code = "worker_lost"
    title = "The workers of one shard were lost"
    retryable = True


class ShardTimeout(PathPatchingError):
    """One shard took longer than a worker allows."""

    code = "shard_timeout"
    title = "A shard took too long"


class ModelChanged(PathPatchingError):
    """A model's files were replaced between the acceptance of a job and its run."""

    code = "model_changed"
    title = "The model has changed since the job was accepted"
    retryable = True

    def __init__(self, name: str, accepted: str, found: str) -> None:
        super().__init__(
            f"The job was accepted for revision {accepted} of model {name!r}, but its files are of revision {found} "
            "now. Submit it again."
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
    """A run's own checks failed, so that its numbers cannot be trusted."""

    code = "checks_failed"
    title = "The run failed its own checks"
