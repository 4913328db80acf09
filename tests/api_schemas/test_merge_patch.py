"""JSON merge patches, by the examples of RFC 7396 and by their inverse."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_schemas.merge_patch import difference, merged

OF_THE_RFC = [  # appendix A: original, patch, result
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]

SCALARS = st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
)


@pytest.mark.parametrize(("original", "patch", "result"), OF_THE_RFC)
def test_the_examples_of_the_rfc(original: str, patch: str, result: str) -> None:
    """Other clients write patches by the same text."""
    document = json.loads(original)
    assert merged(document, json.loads(patch)) == json.loads(result)
    assert document == json.loads(original)


@given(VALUES, VALUES)
def test_the_difference_is_the_patch_that_makes_the_one_of_the_other(old: Any, new: Any) -> None:
    """What the command line changes in a spec is what it asks the service to change."""
    assert merged(old, difference(old, new)) == new


def test_the_difference_names_only_what_changes() -> None:
    """A patch of a spec with a thousand prompts is small."""
    old = {"model": {"name": "demo"}, "dataset": {"kind": "ioi", "seed": 0}, "tags": {"a": "b"}, "name": "x"}
    new = {"model": {"name": "demo"}, "dataset": {"kind": "ioi", "seed": 4}, "tags": {}}
    assert difference(old, new) == {"dataset": {"seed": 4}, "tags": {"a": None}, "name": None}
