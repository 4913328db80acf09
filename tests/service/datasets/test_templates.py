"""The `templates` dataset: slots drawn from lists, so that a published dataset can be reproduced."""

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api_schemas.datasets import ResolvedDataset
from api_schemas.jobs import ExamplePrompt
from service.datasets.example_prompts import example_prompts
from tests.specs_of_demo import TEMPLATES, catalog, check, problems

KL = {"kind": "kl"}


def resolved(**changes: Any) -> ResolvedDataset:
    return check(dataset={**TEMPLATES, **changes}).dataset


def shown(**changes: Any) -> list[ExamplePrompt]:
    dataset = resolved(**changes)
    return example_prompts(dataset, catalog().get("demo"), len(dataset))


def test_roles_are_the_places_of_the_slots() -> None:
    """By slot, by one of its places, with an offset, and by index from the end."""
    for prompt in shown(roles={**TEMPLATES["roles"], "verb": -4}):
        assert prompt.orig[prompt.roles["IO"]] == prompt.answers["IO"]
        assert prompt.orig[prompt.roles["S1"]] == prompt.orig[prompt.roles["S2"]] == prompt.answers["S"]
        assert prompt.roles["S1"] < prompt.roles["S2"] and prompt.roles["S1+1"] == prompt.roles["S1"] + 1
        assert prompt.roles["verb"] == len(prompt.orig) - 4


def test_redrawn_slots_take_fillers_that_neither_run_uses() -> None:
    """An unrelated counterpart must not contain a name of the original."""
    for prompt in shown(examples=50):
        names = [prompt.orig[prompt.roles["IO"]], prompt.orig[prompt.roles["S1"]]]
        names += [prompt.new[prompt.roles["IO"]], prompt.new[prompt.roles["S1"]]]
        assert len(set(names)) == 4


def test_exchanged_slots_take_each_others_fillers() -> None:
    """IO and S exchanged, as in the paper's other counterpart."""
    for prompt in shown(new={"A": "B", "B": "A"}):
        assert prompt.new[prompt.roles["IO"]] == prompt.answers["S"]
        assert prompt.new[prompt.roles["S2"]] == prompt.answers["IO"]


def test_slots_that_are_not_named_in_new_stay() -> None:
    """Everything but what is patched must be equal."""
    for prompt in shown():
        changed = {pos for pos, pair in enumerate(zip(prompt.orig, prompt.new, strict=True)) if pair[0] != pair[1]}
        assert changed == {prompt.roles[role] for role in ("IO", "S1", "S2")}


@given(st.integers(1, 20), st.integers(0, 2**40))
def test_a_longer_draw_begins_with_the_shorter_one(examples: int, seed: int) -> None:
    """So that more examples can be added to an experiment."""
    short, long = resolved(examples=examples, seed=seed), resolved(examples=examples + 7, seed=seed)
    assert long.slice(0, examples) == short


def test_the_order_of_keys_changes_nothing() -> None:
    """JSON objects have no order, and a proxy may change it."""
    slots = dict(reversed(TEMPLATES["slots"].items()))
    assert resolved(slots=slots) == resolved()


def test_the_draw_is_the_same_under_every_hash_seed() -> None:
    """The same seed gives the same prompts on every machine."""
    code = "from tests.specs_of_demo import *; print(check(dataset=TEMPLATES).dataset.model_dump_json())"
    drawn = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert drawn[0] == drawn[1] == resolved().model_dump_json() + "\n"


@pytest.mark.parametrize(
    ("changes", "pointer", "message"),
    [
        (
            {"templates": ["When [A] and [NAME] met"], "roles": {}},
            "/dataset/templates/0",
            'there is no slot "NAME": the slots are A, B, OBJECT',
        ),
        ({"new": {"OBJCT": "redraw"}}, "/dataset/new/OBJCT", 'there is no slot "OBJCT": did you mean "OBJECT"?'),
        ({"new": {"A": "redrw"}}, "/dataset/new/A", 'there is no slot "redrw": did you mean "redraw"?'),
        ({"roles": {"x": "C"}}, "/dataset/roles/x", 'there is no slot "C": the slots are A, B, OBJECT'),
        ({"answers": {"x": "C"}}, "/dataset/answers/x", 'there is no slot "C": the slots are A, B, OBJECT'),
        (
            {"roles": {"x": {"slot": "B", "occurrence": 2}}},
            "/dataset/roles/x",
            "occurrence 2 of slot B does not exist in template 0, which has 2",
        ),
        ({"roles": {"x": -40}}, "/dataset/roles/x", "position -"),
        (
            {"slots": {**TEMPLATES["slots"], "A": ["Mary", "Tom"], "B": ["Tom", "Mary"]}},
            "/dataset/slots/A",
            "slot A has 2 different fillers and needs 4: one for each slot that shares them, "
            "and one more for each of these that is redrawn in new",
        ),
        (
            {"slots": {**TEMPLATES["slots"], "A": [*TEMPLATES["slots"]["A"], "Annabelle"]}},
            "/dataset/slots/A/5",
            '" Annabelle" is 5 tokens (" An", "n", "ab", "el", "le"): an answer is a single token of this model, '
            "and slot A is the answer IO",
        ),
        (
            {
                "slots": {**TEMPLATES["slots"], "OBJECT": ["book", "ring", "lamp", "xylophone"]},
                "new": {"OBJECT": "redraw"},
            },
            "/dataset/slots/OBJECT/3",
            '" xylophone" is ',
        ),
        (
            {"examples": 20_000},
            "/dataset/examples",
            "20,000 examples: at most 10,000 are allowed (PATHPATCH_MAX_EXAMPLES)",
        ),
    ],
)
def test_what_cannot_be_drawn_says_why(changes: dict[str, Any], pointer: str, message: str) -> None:
    """Before anything is drawn, and whichever examples the seed would have given."""
    found = problems(dataset={**TEMPLATES, **changes}, metric=KL)
    assert found[pointer].startswith(message), found


def test_a_slot_that_ends_within_a_token_is_refused() -> None:
    """A role would then stand for a token that is more than the filler."""
    changes = {
        "templates": ["Then [X]ary met [Y] there"],
        "slots": {"X": ["M"], "Y": ["Tom", "John", "Adam"]},
        "new": {"Y": "redraw"},
        "answers": {},
        "roles": {"x": "X"},
        "examples": 1,
    }
    (message,) = problems(dataset={**TEMPLATES, **changes}, metric=KL).values()
    assert message.startswith('slot X does not end where a token of "Then Mary met ')
