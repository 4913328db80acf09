"""Nodes of one list may not have an edge twice; at disjoint positions they have none in common."""

from typing import Any

import pytest

from tests.specs_of_demo import RECEIVERS, SENDERS, TOKENS, problems

LOGIT = {"kind": "logit", "answer": "IO"}
TWICE = "the same edge would be counted twice"


def node(hook: str, layer: int | None = None, **more: Any) -> dict[str, Any]:
    return {"hook": hook, **({} if layer is None else {"layer": layer}), **more}


def overlaps(**patch: Any) -> dict[str, str]:
    """What is wrong with a patch of the demo model, on prompts whose IO is at position 1."""
    ends = {} if "nodes" in patch else {"senders": SENDERS, "receivers": [node("resid_post", 3)]}
    return problems(dataset=TOKENS, metric=LOGIT, patch={**ends, **patch})


@pytest.mark.parametrize(
    "senders",
    [
        [node("z", 1, head=1), node("attn_out", 1)],
        [node("z", 1, head=1), node("z", 1)],
        [node("post", 1, neuron=1), node("mlp_out", 1)],
        [node("z", 1, head=1), node("resid_mid", 1)],
        [node("resid_post", 1), node("resid_pre", 2)],
        [node("resid_pre", 2), node("embed")],
    ],
)
def test_senders_that_write_the_same_are_refused_at_the_positions_they_share(senders: list[dict[str, Any]]) -> None:
    """Everywhere, at one shared position, and not where they share none."""
    assert overlaps(senders=senders)["/patch/senders/1"].endswith(f"overlap at every position: {TWICE}")
    for at, where in (
        ("IO", "position 1 of prompt 0"),
        ([2, 1], "position 1 of prompt 0"),
        ([[3], [1]], "position 1 of prompt 1"),
    ):
        found = overlaps(senders=[{**senders[0], "positions": "IO"}, {**senders[1], "positions": at}])
        assert found["/patch/senders/1"].endswith(f"overlap at {where}: {TWICE}")
    for apart in ("end", 2, [0, 2], [[0], [2]]):
        assert overlaps(senders=[{**senders[0], "positions": "IO"}, {**senders[1], "positions": apart}]) == {}
    assert overlaps(senders=[senders[0], {**senders[1], "positions": "end"}], positions="IO") == {}


@pytest.mark.parametrize(
    "senders",
    [
        [node("z", 1, head=1), node("z", 1, head=2)],
        [node("z", 1), node("mlp_out", 1)],
        [node("resid_pre", 1), node("attn_out", 1)],
        [node("embed"), node("pos_embed")],
    ],
)
def test_senders_that_write_different_things_go_together(senders: list[dict[str, Any]]) -> None:
    """A residual point and a later writer do not count anything twice."""
    assert overlaps(senders=senders) == {}


def test_the_message_names_both_nodes_with_their_positions() -> None:
    """So that the two are found in a long list."""
    senders = [node("z", 0), node("z", 1, head=2, positions="end"), node("attn_out", 1, positions=3)]
    expected = f"senders z 1.2 at end and attn_out 1 at 3 overlap at position 3 of prompt 0: {TWICE}"
    assert overlaps(senders=senders) == {"/patch/senders/2": expected}


def test_receivers_and_nodes_of_an_activation_patch_are_compared_alike() -> None:
    """A pattern is made of its query and its key."""
    for field, kind in (("receivers", "path"), ("nodes", "activation")):
        nodes = [node("q", 2, head=1), node("pattern", 2, head=1)]
        assert f"/patch/{field}/1" in overlaps(kind=kind, **{field: nodes})
        apart = [{**one, "positions": place} for one, place in zip(nodes, ("IO", "end"), strict=True)]
        assert overlaps(kind=kind, **{field: apart}) == {}


def test_many_overlaps_are_told_in_part() -> None:
    """An answer of ten thousand errors helps nobody, and must not take long to find."""
    assert len(overlaps(senders=SENDERS * 3000)) == 20
    assert problems(patch={"senders": SENDERS, "receivers": RECEIVERS * 2})
