"""Changes of a spec on the command line."""

from typing import Any

import pytest

from pathpatch.cli.changes import changed
from pathpatch.cli.terminal import CommandFailed

SPEC: dict[str, Any] = {
    "model": {"name": "demo"},
    "dataset": {"kind": "ioi", "examples": 8, "seed": 0},
    "patch": {"senders": [{"hook": "z", "layer": 1}, {"hook": "z", "layer": 2}]},
}


@pytest.mark.parametrize(
    ("seed", "sets", "at", "value"),
    [
        (3, [], ("dataset", "seed"), 3),
        (None, ["model.name=gpt2-medium"], ("model", "name"), "gpt2-medium"),
        (None, ["patch.senders.1.layer=7"], ("patch", "senders", 1), {"hook": "z", "layer": 7}),
        (None, ["patch.senders=[{hook: embed}]"], ("patch", "senders"), [{"hook": "embed"}]),
        (None, ["name=what: a name, at 10 = ten"], ("name",), "what: a name, at 10 = ten"),
        (None, ["name=- no list"], ("name",), "- no list"),
        (None, ["name='10'"], ("name",), "10"),
        (None, ["output.per_example=true"], ("output", "per_example"), True),
        (None, ["metric={kind: kl}", "metric.position=3"], ("metric",), {"kind": "kl", "position": 3}),
        (2, ["dataset.seed=5"], ("dataset", "seed"), 5),
    ],
)
def test_a_field_is_set_and_all_else_stays(seed: int | None, sets: list[str], at: tuple[Any, ...], value: Any) -> None:
    """Values are read as in a spec file, without its quotes where none are needed."""
    found: Any = changed(SPEC, seed, sets)
    rest = {name: content for name, content in found.items() if name != at[0]}
    assert rest == {name: content for name, content in SPEC.items() if name != at[0]}
    for step in at:
        found = found[step]
    assert found == value


def test_null_removes_a_field() -> None:
    """So that its default applies."""
    assert changed(SPEC, None, ["dataset.seed=null"])["dataset"] == {"kind": "ioi", "examples": 8}
    assert SPEC["dataset"]["seed"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.name", "write FIELD=VALUE"),
        ("=3", "write FIELD=VALUE"),
        ("model..name=3", "write FIELD=VALUE"),
        ("patch.senders.2.layer=3", "'2' is no entry of a list whose entries are 0 to 1"),
        ("patch.senders.head=3", "'head' is no entry of a list"),
        ("metric={kind: kl", "is not YAML"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(change: str, said: str) -> None:
    """Before anything is sent."""
    with pytest.raises(CommandFailed, match=said):
        changed(SPEC, None, [change])
