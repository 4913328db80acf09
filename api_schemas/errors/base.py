"""The root of every error, and how one crosses the wire (RFC 9457)."""

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
