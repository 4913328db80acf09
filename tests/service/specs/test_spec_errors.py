"""pydantic's errors in plain words: pointers into the client's own JSON, and one branch of each union."""

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.spec import FOUNDING_EXPERIMENT
from api_schemas.wording.values import MOST_ERRORS
from service.specs.limits import SpecLimits
from service.specs.parsing import refuse_oversized
from tests.specs_of_demo import PATCH, PROMPTS, RECEIVERS, SENDERS, TEMPLATES, TOKENS, document, problems, problems_of

JARGON = re.compile(r"Input should|pydantic|Traceback|function-|constrained|instance of|valid dict|union|literal\[")


def patch(**fields: Any) -> dict[str, Any]:
    return {"patch": {**PATCH, **fields}}


UNIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a node in place of a list": (patch(senders=SENDERS[0]), ["/patch/senders"]),
    "a string in place of a node": (patch(senders=["z"]), ["/patch/senders/0"]),
    "a sweep's layers": (patch(senders={"sweep": {"hook": "z", "layers": "some"}}), ["/patch/senders/sweep/layers"]),
    "one of a sweep's heads": (
        patch(senders={"sweep": {"hook": "z", "heads": [0, "1"]}}),
        ["/patch/senders/sweep/heads/1"],
    ),
    "one of a sweep's hooks": (patch(receivers={"sweep": {"hook": ["q", "kk"]}}), ["/patch/receivers/sweep/hook/1"]),
    "one position of a list": (patch(positions=["end", -2]), ["/patch/positions/1"]),
    "one position of one example": (patch(positions=[[0], [1, "end"]]), ["/patch/positions/1/1"]),
    "positions of no known form": (patch(positions={"from": 3}), ["/patch/positions"]),
    "one position of a role": ({"dataset": {**TOKENS, "roles": {"IO": [1, "x"]}}}, ["/dataset/roles/IO/1"]),
    "one string of a role": ({"dataset": {**PROMPTS, "roles": {"IO": ["a", 1]}}}, ["/dataset/roles/IO/1"]),
    "a role's strings": ({"dataset": {**PROMPTS, "roles": {"IO": {"strings": "a"}}}}, ["/dataset/roles/IO/strings"]),
    "a slot's occurrence": (
        {"dataset": {**TEMPLATES, "roles": {"S": {"slot": "B", "occurrence": "2"}}}},
        ["/dataset/roles/S/occurrence"],
    ),
    "reduce": ({"output": {"reduce": {"top": 0}}}, ["/output/reduce/top"]),
    "the kind of a patch": (patch(kind="pth"), ["/patch/kind"]),
    "the kind of a dataset is missing": ({"dataset": {"examples": 3}}, ["/dataset/kind"]),
    "one metric of several": ({"metric": None, "metrics": [{"kind": "kl"}, {"kind": "kk"}]}, ["/metrics/1/kind"]),
    "a field named as its kind": ({"dataset": {"kind": "ioi", "examples": 3, "ioi": 1}}, ["/dataset/ioi"]),
    "a role named as a type": (
        {"dataset": {**TOKENS, "roles": {"a/b~int": [1, None]}}},
        ["/dataset/roles/a~1b~0int/1"],
    ),
    "two nodes": (
        patch(senders=[{"hook": "z"}, {"hook": "mlp_out", "layer": 0, "head": 1}]),
        ["/patch/senders/0/layer", "/patch/senders/1/head"],
    ),
    "a full name that contradicts": (
        patch(senders=[{"hook": "blocks.1.attn.hook_z", "layer": 2}]),
        ["/patch/senders/0/layer"],
    ),
}


@pytest.mark.parametrize(("changes", "pointers"), UNIONS.values(), ids=UNIONS)
def test_of_a_union_the_branch_that_fits_best_is_told(changes: dict[str, Any], pointers: list[str]) -> None:
    """pydantic reports every branch, with names of its own in the location; clients know only their JSON."""
    found = problems(**changes)
    assert list(found) == pointers
    assert not JARGON.search(json.dumps(found))


def test_a_misspelled_required_field_is_told_once() -> None:
    """The right name is then missing too, but that is the same mistake."""
    found = problems(patch={"sender": SENDERS, "receivers": RECEIVERS})
    assert list(found) == ["/patch/sender"] and 'did you mean "senders"?' in found["/patch/sender"]


def test_a_missing_field_beside_a_strange_one_is_told() -> None:
    """Only a close name can stand for it."""
    assert sorted(problems(metric={"kind": "logit", "strange": 1})) == ["/metric/answer", "/metric/strange"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "demo"}, '"demo" is not an object, such as {"name": "gpt2-small"}'),
        ({"webhook": "http://x"}, 'is not an object, such as {"url": "https://lab.example.org/hooks/pathpatch"}'),
        ({"dataset": "tokens"}, 'is not an object, such as {"kind": "tokens", ...}'),
        ({"metric": "logits"}, 'is not an object, such as {"kind": "logit", ...}'),
        (patch(senders=["z"]), 'is not an object, such as {"hook": "z", "layer": 9, "head": 6}'),
        ({"tags": "x"}, '"x" is not an object (tags'),
    ],
)
def test_what_should_be_an_object_is_shown_one(changes: dict[str, Any], told: str) -> None:
    """A bare name is the commonest first try; that an object is needed does not yet say which."""
    assert told in next(iter(problems(**changes).values()))


def test_long_values_are_shortened() -> None:
    """A message is for reading; the client has the value already."""
    found = problems(model={"name": "demo", "fold_ln": "x" * 10_000})
    assert found["/model/fold_ln"].startswith('"xxxxx') and len(found["/model/fold_ln"]) < 200


def test_many_errors_are_cut_off() -> None:
    """A client that sends strings for numbers does it thousands of times."""
    found = problems(dataset={**TOKENS, "orig": [["a"] * 1000] * 10})
    assert len(found) == MOST_ERRORS
    assert "More fields are wrong" in list(found.values())[-1]


def test_long_lists_are_told_before_each_item_is_validated() -> None:
    """Four million wrong tokens would otherwise make four million error records."""
    whole = document(dataset={**TOKENS, "orig": [[1]] * 10_001, "new": [[1] * 10_001]})
    found = {error.pointer: error.message for error in refuse_oversized(whole, SpecLimits())}
    assert list(found) == ["/dataset/new/0", "/dataset/orig"]
    assert found["/dataset/orig"] == "the list has 10,001 items: the most is 10,000 (PATHPATCH_MAX_EXAMPLES)"
    assert refuse_oversized(whole, SpecLimits(max_examples=20_000)) == []
    assert refuse_oversized(document(dataset={**TOKENS, "orig": [[1] * 50]}), SpecLimits(max_examples=10)) == []


WORDS = st.sampled_from(["", "z", "end", "all", "ioi", "x"])
KEYS = st.sampled_from(["kind", "hook", "layer", "sweep", "strings", "top", "", "a/b", "ioi"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
STARTS = [
    document(),
    document(dataset=TOKENS),
    document(dataset=PROMPTS),
    document(dataset=TEMPLATES),
    document(patch={"senders": {"sweep": {"hook": "z", "positions": "each"}}, "receivers": RECEIVERS}),
    document(patch={"kind": "activation", "nodes": SENDERS}, metric={"kind": "logit", "answer": "IO"}),
    FOUNDING_EXPERIMENT,
]


def _containers(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return ([value] if isinstance(value, dict | list) else []) + [
        found for item in inner for found in _containers(item)
    ]


@st.composite
def garbage(draw: st.DrawFn) -> dict[str, Any]:
    """A spec that runs, with a few values replaced, added or removed anywhere."""
    whole: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(STARTS)))
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.sampled_from(_containers(whole)))
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        if keys and draw(st.booleans()):
            where[draw(st.sampled_from(keys))] = draw(JSON)
        elif keys and draw(st.booleans()):
            del where[draw(st.sampled_from(keys))]
        elif isinstance(where, dict):
            where[draw(st.sampled_from(["kind", "head", "heads", "positions", "swap", "examples", "x"]))] = draw(JSON)
        else:
            where.append(draw(JSON))
    return whole


@settings(max_examples=400)
@given(garbage())
def test_garbage_is_only_ever_refused_in_plain_words(whole: dict[str, Any]) -> None:
    """No spec makes the service fail, and no message shows its insides."""
    for pointer, message in problems_of(whole).items():
        assert pointer.startswith("/"), message
        assert message and not JARGON.search(message), message
