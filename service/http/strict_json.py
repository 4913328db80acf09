"""JSON, read strictly: what two readers could read differently is refused, in time linear in its size."""

import json
import re
from typing import Any

import orjson

from api_schemas.errors import MalformedJson

BIGGEST_DIGITS = 19
"""Digits of the largest integer that is read, that of 64 bits."""

_LONG_INTEGER = re.compile(rb"[0-9]{%d}" % BIGGEST_DIGITS)
_BRACKETS_OUTSIDE_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def parse_json(body: bytes, max_depth: int) -> Any:
    """The value that the body states.

    Raises:
        MalformedJson: Bad syntax or UTF-8, NaN or infinity, a key twice, an integer beyond 64 bits, or deep nesting.
    """
    _check_depth(body, max_depth)
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise MalformedJson(f"the body is not valid JSON: {exc}") from None
    read_integer = _integer if _LONG_INTEGER.search(body) else int
    return json.loads(body, object_pairs_hook=_object, parse_int=read_integer)


def _check_depth(body: bytes, max_depth: int) -> None:
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    depth = 0
    for match in _BRACKETS_OUTSIDE_STRINGS.finditer(body):
        first = match[0][0]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                allowed = f"{max_depth} levels (PATHPATCH_MAX_JSON_DEPTH)"
                raise MalformedJson(f"the body is nested deeper than {allowed} at byte {match.start()}")
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedJson(f"the key {twice[:80]!r} is given twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > BIGGEST_DIGITS:
        raise MalformedJson(f"the integer {digits[:24]}... does not fit into 64 bits")
    return int(digits)
