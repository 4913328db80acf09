"""From JSON documents to specs; everything that is wrong with one is told at once."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError

from api_schemas.errors import FieldError, InvalidSpec
from api_schemas.spec import JobSpec
from service.specs.field_errors import field_errors, refuse_long_lists
from service.specs.limits import Limits
from service.specs.wording import wrong

MOST_JOBS_PER_BATCH = 1000
MOST_ERRORS_PER_BATCH = 1000
"""After so many no further spec is looked at."""

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


def parse_batch(document: Any, limits: Limits, check: Callable[[JobSpec], None]) -> list[JobSpec]:
    """The specs of a batch, ``{"jobs": [spec, ...]}``.

    Args:
        check: Raises ``InvalidSpec`` for a spec that cannot run; asked only where something is wrong already, so that
            what is wrong with the other specs is told along with it.

    Raises:
        InvalidSpec: It is not a batch, or some of its specs are wrong; names every field that is wrong.
    """
    entries, errors = _entries(document)
    if not errors:
        with suppress(InvalidSpec):
            return each(entries, lambda entry: parse_spec(entry, limits))
    try:
        each(entries, lambda entry: check(parse_spec(entry, limits)))
    except InvalidSpec as exc:
        errors += exc.errors
    raise InvalidSpec(errors)


def _entries(document: Any) -> tuple[list[Any], list[FieldError]]:
    """The list of specs, and which fields beside it do not exist."""
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), list):
        raise InvalidSpec([FieldError(pointer="/jobs", message='a batch is {"jobs": [spec, ...]}')])
    message = "there is no such field: a batch has only `jobs`"
    unknown = [wrong((name,), message) for name in sorted(set(document) - {"jobs"})]
    entries: list[Any] = document["jobs"]
    if not 1 <= len(entries) <= MOST_JOBS_PER_BATCH:
        message = f"{len(entries)} jobs were given: a batch has 1 to {MOST_JOBS_PER_BATCH}"
        raise InvalidSpec([*unknown, FieldError(pointer="/jobs", message=message)])
    return entries, unknown


def each(entries: Sequence[Entry], accept: Callable[[Entry], Accepted]) -> list[Accepted]:
    """What the entries of a batch become; what is wrong with any of them is raised together, the first thousand."""
    accepted: list[Accepted] = []
    errors: list[FieldError] = []
    for index, entry in enumerate(entries):
        if len(errors) >= MOST_ERRORS_PER_BATCH:
            break
        try:
            accepted.append(accept(entry))
        except InvalidSpec as exc:
            errors += [
                FieldError(pointer=f"/jobs/{index}{error.pointer}", message=error.message) for error in exc.errors
            ]
    if errors:
        raise InvalidSpec(errors)
    return accepted
