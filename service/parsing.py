"""From JSON documents to specs; everything that is wrong with one is told at once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from api_schemas.errors import FieldError, InvalidSpec
from api_schemas.spec import JobSpec
from service.limits import Limits
from service.spec_errors import field_errors, refuse_long_lists

MOST_JOBS_PER_BATCH = 1000

Entry = TypeVar("Entry")
Accepted = TypeVar("Accepted")


def parse_spec(document: Any, limits: Limits) -> JobSpec:
    """The spec that a JSON value states.

    Raises:
        InvalidSpec: It is not one; names every field that is wrong.
    """
    if too_long := refuse_long_lists(document, limits):
        raise InvalidSpec(too_long)
    try:
        return JobSpec.model_validate(document)
    except ValidationError as exc:
        raise InvalidSpec(field_errors(exc, document)) from None


def parse_batch(document: Any, limits: Limits) -> list[JobSpec]:
    """The specs of a batch, ``{"jobs": [spec, ...]}``.

    Raises:
        InvalidSpec: It is not a batch, or some of its specs are wrong; names every field that is wrong.
    """
    return each(_entries(document), lambda entry: parse_spec(entry, limits))


def _entries(document: Any) -> list[Any]:
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), list):
        raise InvalidSpec([FieldError(pointer="/jobs", message='a batch is {"jobs": [spec, ...]}')])
    unknown = sorted(set(document) - {"jobs"})
    if unknown:
        message = "there is no such field: a batch has only `jobs`"
        raise InvalidSpec([FieldError(pointer=f"/{name}", message=message) for name in unknown])
    entries: list[Any] = document["jobs"]
    if not 1 <= len(entries) <= MOST_JOBS_PER_BATCH:
        message = f"{len(entries)} jobs were given: a batch has 1 to {MOST_JOBS_PER_BATCH}"
        raise InvalidSpec([FieldError(pointer="/jobs", message=message)])
    return entries


def each(entries: Sequence[Entry], accept: Callable[[Entry], Accepted]) -> list[Accepted]:
    """What the entries of a batch become; all that is wrong with any of them is raised together."""
    accepted: list[Accepted] = []
    wrong: list[FieldError] = []
    for index, entry in enumerate(entries):
        try:
            accepted.append(accept(entry))
        except InvalidSpec as exc:
            wrong += [
                FieldError(pointer=f"/jobs/{index}{error.pointer}", message=error.message) for error in exc.errors
            ]
    if wrong:
        raise InvalidSpec(wrong)
    return accepted
