"""Bodies are read strictly: what is ambiguous or hostile is refused before anything looks at it."""

import time

import pytest

from api_schemas.errors import MalformedJson
from service.http.strict_json import parse_json

DEPTH = 32


def test_ordinary_json_is_read_as_it_is() -> None:
    """The strictness must not change what an honest client said."""
    body = '{"a": [1, -2.5, true, null, "[{\\"}"], "é": 9007199254740993}'.encode()
    assert parse_json(body, DEPTH) == {"a": [1, -2.5, True, None, '[{"}'], "é": 9007199254740993}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": Infinity}', "not valid JSON"),
        (b'{"a": 1e999}', "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b'"\\ud800"', "not valid JSON"),
        (b'{"head": 1, "head": 2}', "'head' is given twice"),
        (b"[12345678901234567890123]", "does not fit into 64 bits"),
        (b"[" * 33 + b"]" * 33, "deeper than 32"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "deeper than 32"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_the_reason(body: bytes, told: str) -> None:
    """A lenient parser would let two readers of the same body disagree, or run out of stack."""
    with pytest.raises(MalformedJson, match=told):
        parse_json(body, DEPTH)


def test_brackets_inside_strings_do_not_count_as_nesting() -> None:
    """Prompts may contain any number of brackets."""
    assert parse_json(b'["' + b"[" * 1000 + b'"]', DEPTH) == ["[" * 1000]


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 1_000_000, b"[" * 2_000_000, b'{"a":' * 500_000, b'"\\'])
def test_hostile_bodies_are_refused_in_linear_time(body: bytes) -> None:
    """A few megabytes of quotes or brackets must not keep a processor busy."""
    started = time.perf_counter()
    with pytest.raises(MalformedJson):
        parse_json(body, DEPTH)
    assert time.perf_counter() - started < 2.0
