"""How values, lists of names and counts are written in messages."""

import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from api_schemas.errors import FieldError

LONGEST_STRING = 60
LONGEST_LIST = 4
MOST_NAMES = 30


def shown(value: Any) -> str:
    """A JSON value as the client wrote it, shortened."""
    if isinstance(value, str):
        short = value if len(value) <= LONGEST_STRING else value[:LONGEST_STRING] + "…"
        return json.dumps(short, ensure_ascii=False)
    if isinstance(value, dict):
        pairs = [f"{shown(key)}: {_inner(item)}" for key, item in list(value.items())[:LONGEST_LIST]]
        return "{" + ", ".join(pairs + ["…"] * (len(value) > LONGEST_LIST)) + "}"
    if isinstance(value, list):
        return (
            "[" + ", ".join([_inner(item) for item in value[:LONGEST_LIST]] + ["…"] * (len(value) > LONGEST_LIST)) + "]"
        )
    return _number(value)


def _inner(value: Any) -> str:
    if isinstance(value, dict) and value:
        return "{…}"
    if isinstance(value, list) and value:
        return "[…]"
    return shown(value)


def _number(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
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


def closest(name: Any, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    if not isinstance(name, str):
        return None
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower()[:LONGEST_STRING], by_lower, n=1)
    return by_lower[found[0]] if found else None


def among(start: str, name: Any, known: Sequence[str], lead: str) -> str:
    """``start``, the known name that was probably meant, and all that are known."""
    meant = closest(name, known)
    if meant is None:
        return f"{start}: {lead} {listed(known)}"
    return f"{start}: did you mean {shown(meant)}? {lead[0].upper()}{lead[1:]} {listed(known)}"


def pointer(*path: str | int) -> str:
    """The JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def wrong(path: Sequence[str | int], message: str) -> FieldError:
    """One thing wrong at a path."""
    return FieldError(pointer=pointer(*path), message=message)
