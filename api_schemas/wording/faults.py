"""Where pydantic's errors lie in a document, and which member of each union was meant.

A location in pydantic mixes keys and indices with names of union members. Here the two are told apart by following
the document, and of each union only the errors of the member that fits the value best are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from api_schemas.wording.fields import ABSENT, value_at

NOTHING_FITS = "nothing_fits"
"""Kind of the one fault that replaces those of a union none of whose members has the value's type."""
MOST_READ = 10_000
"""pydantic's errors after these are not looked at."""


@dataclass(frozen=True)
class Fault:
    """One of pydantic's errors, at a path of the document."""

    kind: str
    path: tuple[str | int, ...]
    branches: tuple[tuple[int, str], ...] = ()
    """For each union passed: the length of the path there, and pydantic's name of the member."""
    is_key: bool = False
    """Whether the key itself is wrong, not its value."""
    context: Mapping[str, Any] = field(default_factory=dict)
    index: int = 0
    """Index among all errors, whose order is that of the fields in the schema."""


def faults_of(exc: ValidationError, document: Any) -> list[Fault]:
    """Everything wrong with a document, in the schema's order; of a union, the faults of the best member alone."""
    found = exc.errors(include_url=False, include_input=False)[:MOST_READ]
    return _of_best_members([located(error, document, index) for index, error in enumerate(found)], document)


def located(error: Mapping[str, Any], document: Any, index: int = 0) -> Fault:
    """Tell keys and indices of the document from union members in the location of one of pydantic's errors."""
    path: list[str | int] = []
    branches: list[tuple[int, str]] = []
    steps: Sequence[str | int] = error["loc"]
    here = document
    tagged_at = -1
    for number, step in enumerate(steps):
        if _is_kind_tag(path, here, tagged_at):
            tagged_at = len(path)
            continue
        names_missing = error["type"] == "missing" and number == len(steps) - 1
        if (isinstance(here, dict) and (step in here or names_missing)) or (
            isinstance(here, list) and isinstance(step, int)
        ):
            path.append(step)
            here = value_at(here, [step])
        elif step != "[key]":
            branches.append((len(path), str(step)))
    is_key = steps[-1:] == ("[key]",)
    return Fault(error["type"], tuple(path), tuple(branches), is_key, error.get("ctx") or {}, index)


def _is_kind_tag(path: list[str | int], here: Any, tagged_at: int) -> bool:
    """Whether the next step only repeats the ``kind`` of an object of several kinds."""
    if tagged_at == len(path) or not isinstance(here, dict):
        return False
    return bool(path) and (path[-1] in ("dataset", "patch", "metric") or path[-2:-1] == ["metrics"])


def _of_best_members(faults: Sequence[Fault], document: Any, level: int = 0) -> list[Fault]:
    """The faults of the union members that fit best; ``level`` unions were settled already."""
    kept: list[Fault] = []
    unions: dict[tuple[str | int, ...], dict[str, list[Fault]]] = {}
    for fault in faults:
        if len(fault.branches) <= level:
            kept.append(fault)
        else:
            length, member = fault.branches[level]
            unions.setdefault(fault.path[:length], {}).setdefault(member, []).append(fault)
    for path, members in unions.items():
        value = value_at(document, path)
        fits = [found for member, found in members.items() if _fits(member, value)]
        if fits:
            best = min(fits, key=lambda found: _misfit(found, len(path)))
            kept += _of_best_members(best, document, level + 1)
        else:
            kept.append(Fault(NOTHING_FITS, path, index=next(iter(members.values()))[0].index))
    return sorted(kept, key=lambda fault: fault.index)


def _misfit(faults: Sequence[Fault], depth: int) -> tuple[int, bool, int]:
    """How badly a member fits: the number of paths that are wrong; then a fixed string, then an early index, loses."""
    items = [fault.path[depth] for fault in faults if len(fault.path) > depth]
    first = min((item for item in items if isinstance(item, int)), default=0)
    return len({fault.path for fault in faults}), faults[0].kind == "literal_error", -first


def _fits(member: str, value: Any) -> bool:
    """Whether a value has the JSON type of a union member, told by pydantic's name of the member."""
    if member.startswith("list["):
        return isinstance(value, list)
    if member.startswith("literal[") or member.endswith("str"):
        return isinstance(value, str)
    if member.endswith("int"):
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, dict) and value is not ABSENT
