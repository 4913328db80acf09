"""From JSON documents to specs; everything that is wrong with one is told at once."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import is_
from typing import Any, TypeVar

from pydantic import ValidationError

from api_schemas.errors import FieldError, InvalidSpec
from api_schemas.spec import JobSpec
from api_schemas.wording.sentences import field_errors
from api_schemas.wording.values import MOST_ERRORS, counted, wrong
from service.specs.limits import SpecLimits, knob

MOST_JOBS_PER_BATCH = 1000
MOST_ERRORS_PER_BATCH = 1000
"""After so many no further spec is looked at."""

LONGEST_OTHER_LIST = 10_000
"""Lists that are not one entry per example, such as a prompt's tokens or a layer's neurons, are shorter than this."""
LONGEST_STRING = 1_000_000
"""Characters of a prompt or a name."""
FIRST_ITEMS = 100
"""Of every list, so many are validated before all of them are."""
MOST_FIELDS = 1000
"""Entries of an object, such as a dataset's roles."""
EDGES = ("patch", "edges")
"""Circuits name edges: lists, or the objects of a graph file, of as many as a model has."""
NESTED = frozenset({dict, list, str})

Entry = TypeVar("Entry")
Accepted = TypeVar("Accepted")


def parse_spec(document: Any, limits: SpecLimits) -> JobSpec:
    """The spec that a JSON value states.

    Raises:
        InvalidSpec: It is not one; names every field that is wrong.
    """
    if oversized := refuse_oversized(document, limits):
        raise InvalidSpec(oversized)
    beginning = _beginning(document)
    try:
        if beginning is not document:
            JobSpec.model_validate(beginning)  # a million wrong items would make a million records of errors
    except ValidationError as exc:
        raise InvalidSpec(field_errors(exc, beginning, JobSpec)) from None
    try:
        return JobSpec.model_validate(document)
    except ValidationError as exc:
        raise InvalidSpec(field_errors(exc, document, JobSpec)) from None


def bare_spec(document: Any, limits: SpecLimits) -> JobSpec:
    """The same; what is wrong is not put into words, which takes much longer than to find that something is.

    Raises:
        InvalidSpec: Something in it is larger than in any spec.
        ValidationError: It is not a spec.
    """
    if oversized := refuse_oversized(document, limits):
        raise InvalidSpec(oversized)
    return JobSpec.model_validate(document)


def _beginning(document: Any) -> Any:
    """The document with the first items of every list alone; itself where none is longer."""
    if isinstance(document, dict):
        shortened = {name: _beginning(value) for name, value in document.items()}
        return shortened if any(shortened[name] is not document[name] for name in document) else document
    if not isinstance(document, list):
        return document
    items = [_beginning(item) for item in document[:FIRST_ITEMS]]
    is_whole = len(items) == len(document) and all(map(is_, items, document))
    return document if is_whole else items


def refuse_oversized(document: Any, limits: SpecLimits) -> list[FieldError]:
    """Lists, objects and strings larger than any that a spec may hold, told before what is in them is validated."""
    most = max(limits.max_examples, LONGEST_OTHER_LIST)
    found: list[FieldError] = []
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), document)] if _may_be_oversized(document) else []
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            found.append(wrong(path, f"the string has {len(value):,} characters: the most is {LONGEST_STRING:,}"))
        elif isinstance(value, list) and len(value) > (max(most, limits.max_cells) if path[:2] == EDGES else most):
            allowed = f"the most is {most:,} ({knob('max_examples')})"
            found.append(wrong(path, f"the list has {counted(len(value), 'item')}: {allowed}"))
        elif isinstance(value, dict) and len(value) > (limits.max_cells if path[:2] == EDGES else MOST_FIELDS):
            found.append(wrong(path, f"the object has {len(value):,} entries: the most is {MOST_FIELDS:,}"))
        elif isinstance(value, dict):
            waiting += [((*path, key), item) for key, item in value.items() if _may_be_oversized(item)]
        elif not NESTED.isdisjoint(map(type, value)):
            waiting += [((*path, index), item) for index, item in enumerate(value) if _may_be_oversized(item)]
    return sorted(found, key=lambda error: error.pointer)[:MOST_ERRORS]


def _may_be_oversized(value: Any) -> bool:
    return isinstance(value, dict | list) or (isinstance(value, str) and len(value) > LONGEST_STRING)


def parse_batch(document: Any, limits: SpecLimits, check: Callable[[JobSpec], None]) -> list[JobSpec]:
    """The specs of a batch, ``{"jobs": [spec, ...]}``.

    Args:
        check: Raises ``InvalidSpec`` for a spec that cannot run; asked only where something is wrong already, so that
            what is wrong with the other specs is told along with it.

    Raises:
        InvalidSpec: It is not a batch, or some of its specs are wrong; names every field that is wrong.
    """
    entries, errors = entries_of(document)
    if not errors:
        with suppress(InvalidSpec, ValidationError):
            return [bare_spec(entry, limits) for entry in entries]
    try:
        each(entries, lambda entry: check(parse_spec(entry, limits)))
    except InvalidSpec as exc:
        errors += exc.errors
    raise InvalidSpec(errors)


def entries_of(document: Any) -> tuple[list[Any], list[FieldError]]:
    """The list of specs, and which fields beside it do not exist."""
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), list):
        raise InvalidSpec([FieldError(pointer="/jobs", message='a batch is {"jobs": [spec, ...]}')])
    message = "there is no such field: a batch has only `jobs`"
    unknown = [wrong((name,), message) for name in sorted(set(document) - {"jobs"})[:MOST_ERRORS]]
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
