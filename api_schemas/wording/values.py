"""How values, lists of names and counts are written in messages."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any

from api_schemas.errors import FieldError

LONGEST_STRING = 60
LONGEST_LIST = 4
MOST_NAMES = 30
MOST_ERRORS = 100
"""Errors of one document that are put into words."""
MOST_COMPARED = 100
"""A suggestion is looked for among so many known names; comparing two names takes microseconds."""


def shown(value: Any) -> str:
    """A JSON value as the client wrote it, shortened."""
    if isinstance(value, str):
        return json.dumps(_cut(value), ensure_ascii=False)
    if isinstance(value, dict):
        pairs = [f"{shown(key)}: {_inner(item)}" for key, item in islice(value.items(), LONGEST_LIST)]
        return "{" + ", ".join(pairs + ["…"] * (len(value) > LONGEST_LIST)) + "}"
    if isinstance(value, list):
        items = [_inner(item) for item in value[:LONGEST_LIST]]
        return "[" + ", ".join(items + ["…"] * (len(value) > LONGEST_LIST)) + "]"
    try:
        return _cut(json.dumps(value))
    except (TypeError, ValueError):
        return _cut(repr(value))


def _inner(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{…}"
    if isinstance(value, list) and value:
        return "[…]"
    return shown(value)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_STRING else text[:LONGEST_STRING] + "…"


def listed(names: Iterable[Any]) -> str:
    """Names in a row, or ``none``."""
    names = [str(name) for name in names]
    if len(names) > MOST_NAMES:
        return ", ".join(names[:MOST_NAMES]) + f" and {len(names) - MOST_NAMES} more"
    return ", ".join(names) or "none"


def counted(count: int, noun: str) -> str:
    """A count and its noun, such as ``1 token`` or ``2,000 tokens``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


@dataclass
class Suggestions:
    """Finds the names that were probably meant, for the first mistakes of a request only: comparing names is slow."""

    left: int = 12

    def closest(self, name: Any, known: Iterable[str]) -> str | None:
        """The known name that was probably meant."""
        if not isinstance(name, str) or not self.left:
            return None
        self.left -= 1
        by_lower = {candidate.lower(): candidate for candidate in islice(known, MOST_COMPARED)}
        found = get_close_matches(name[:LONGEST_STRING].lower(), by_lower, n=1)
        return by_lower[found[0]] if found else None

    def among(self, start: str, name: Any, known: Sequence[str], lead: str) -> str:
        """``start``, the known name that was probably meant, and all that are known."""
        meant = self.closest(name, known)
        if meant is None:
            return f"{start}: {lead} {listed(known)}"
        return f"{start}: did you mean {shown(meant)}? {lead[0].upper()}{lead[1:]} {listed(known)}"


def pointer(*path: str | int) -> str:
    """The JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def wrong(path: Sequence[str | int], message: str) -> FieldError:
    """One thing wrong at a path."""
    return FieldError(pointer=pointer(*path), message=message)


def first_errors(errors: Iterable[FieldError], are_more: bool = False) -> list[FieldError]:
    """The first hundred different errors; the last of them says so where there are more."""
    found: dict[FieldError, None] = {}
    for error in errors:
        if len(found) == MOST_ERRORS and error not in found:
            are_more = True
            break
        found[error] = None
    told = list(found)
    if told and are_more:
        message = told[-1].message + " (More fields are wrong; the first are listed.)"
        told[-1] = FieldError(pointer=told[-1].pointer, message=message)
    return told
