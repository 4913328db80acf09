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


class InvalidSpec(PathPatchingError):
    """A spec that cannot run; carries every field that is wrong."""

    code = "invalid_spec"
    title = "The spec cannot run"

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.pointer}: {error.message}" for error in errors[:3]))
        self.errors = errors
