"""Where pydantic's errors lie in the client's JSON, and which member of each union was meant.

A location in pydantic mixes keys and indices with names of union members. Here the two are told apart by following
the document, and of each union only the errors of the member that fits the value best are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.specs.fields import ABSENT, value_at

NOTHING_FITS = "nothing_fits"
"""Kind of the one fault that replaces those of a union none of whose members has the value's type."""


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
    order: int = 0
    """Place among all errors, which is that of the fields in the schema."""


def located(error: Mapping[str, Any], document: Any, order: int = 0) -> Fault:
    """Tell keys and indices of the document from union members in the location of one of pydantic's errors."""
    path: list[str | int] = []
    branches: list[tuple[int, str]] = []
    steps: Sequence[str | int] = error["loc"]
    here = document
    tagged_at = -1
    for index, step in enumerate(steps):
        if _is_kind_tag(path, here, tagged_at):
            tagged_at = len(path)
            continue
        names_missing = error["type"] == "missing" and index == len(steps) - 1
        if (isinstance(here, dict) and (step in here or names_missing)) or (
            isinstance(here, list) and isinstance(step, int)
        ):
            path.append(step)
            here = value_at(here, [step])
        elif step != "[key]":
            branches.append((len(path), str(step)))
    is_key = steps[-1:] == ("[key]",)
    return Fault(error["type"], tuple(path), tuple(branches), is_key, error.get("ctx") or {}, order)


def _is_kind_tag(path: list[str | int], here: Any, tagged_at: int) -> bool:
    """Whether the next step only repeats the ``kind`` of an object of several kinds."""
    if tagged_at == len(path) or not isinstance(here, dict):
        return False
    return bool(path) and (path[-1] in ("dataset", "patch", "metric") or path[-2:-1] == ["metrics"])


def fitting_branches(faults: Sequence[Fault], document: Any, level: int = 0) -> list[Fault]:
    """The faults of the union members that fit best, in the order found; ``level`` unions were settled already."""
    kept: list[Fault] = []
    sites: dict[tuple[str | int, ...], dict[str, list[Fault]]] = {}
    for fault in faults:
        if len(fault.branches) <= level:
            kept.append(fault)
        else:
            length, member = fault.branches[level]
            sites.setdefault(fault.path[:length], {}).setdefault(member, []).append(fault)
    for site, members in sites.items():
        value = value_at(document, site)
        fits = [found for member, found in members.items() if _fits(member, value)]
        if not fits:
            first = min(fault.order for found in members.values() for fault in found)
            kept.append(Fault(NOTHING_FITS, site, order=first))
            continue
        best = min(fits, key=lambda found: _misfit(found, len(site)))
        kept += fitting_branches(best, document, level + 1)
    return sorted(kept, key=lambda fault: fault.order)


def _misfit(faults: Sequence[Fault], depth: int) -> tuple[int, bool, int]:
    """How badly a member fits: the number of places that are wrong; then a fixed string, then an early place, loses."""
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
