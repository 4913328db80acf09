"""Where nodes take part, and which senders reach a receiver: in the order of a forward pass, at a common position."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node
from api_schemas.spec import ActivationPatch, Patch, PathPatch
from planning.architecture import Architecture
from planning.graph import Graph
from planning.grid import grid_of
from planning.prompts import Places
from planning.reach import unreachable_senders

SMALL = Architecture(n_layers=12, n_heads=12, d_model=768, d_mlp=3072, n_ctx=1024, d_vocab=50257)
LENGTHS = [5, 4, 6]
DATASET = ResolvedDataset(
    orig=[[1] * length for length in LENGTHS],
    new=[[2] * length for length in LENGTHS],
    roles={"S1": [1, 2, 1], "end": [4, 3, 5]},
    answers={},
)
QUERY = [{"hook": "q", "layer": 10, "head": 7}]


def patch(**fields: Any) -> PathPatch | ActivationPatch:
    return TypeAdapter(Patch).validate_python(fields)


def unreachable(senders: Any, receivers: Any, **fields: Any) -> list[str]:
    asked = patch(senders=senders, receivers=receivers, **fields)
    return list(map(str, unreachable_senders(asked, Places(asked.positions, DATASET, Graph(SMALL)))))


def head(layer: int, index: int, **more: Any) -> dict[str, Any]:
    return {"hook": "z", "layer": layer, "head": index, **more}


def test_a_sender_after_every_receiver_is_unreachable() -> None:
    """The contract lists it in the result instead of refusing the job."""
    assert unreachable([head(9, 6), head(10, 0)], QUERY) == ["z 10.0"]


def test_a_layers_own_heads_reach_its_resid_post_and_its_mlp_input() -> None:
    """Within a layer attention comes before the MLP."""
    for hook in ("resid_mid", "pre", "resid_post"):
        assert unreachable([head(11, 0)], [{"hook": hook, "layer": 11}]) == []


def test_a_sender_at_other_positions_than_every_later_receiver_is_unreachable() -> None:
    """An edge joins two nodes at one position."""
    receivers = [{**QUERY[0], "positions": "end"}, {"hook": "q", "layer": 3, "head": 0, "positions": "S1"}]
    senders = [head(9, 0), head(9, 1, positions="end"), head(9, 2, positions="S1"), head(2, 3, positions="S1")]
    assert unreachable(senders, receivers) == ["z 9.2 at S1"]
    assert unreachable(senders, receivers, positions="S1") == ["z 9.0", "z 9.1 at end", "z 9.2 at S1"]
    assert unreachable([head(9, 0, positions=[4, 0])], [{**QUERY[0], "positions": "end"}]) == []
    assert unreachable([head(9, 0, positions=[[0], [0], [5]])], [{**QUERY[0], "positions": "end"}]) == []


def test_a_sweeps_heads_are_all_named() -> None:
    """At the one position of the receiver, every head of an earlier layer arrives."""
    sweep = {"sweep": {"hook": "z", "layers": [9, 11], "positions": [5, "S1"]}}
    found = unreachable(sweep, [{**QUERY[0], "positions": "end"}])
    assert len(found) == 12 + 2 * 12
    assert found[:2] == ["z 9.0 at S1", "z 9.1 at S1"] and found[12:14] == ["z 11.0 at 5", "z 11.0 at S1"]
    assert unreachable({"sweep": {"hook": "z", "layers": [0, 9]}}, {"sweep": {"hook": "q"}}) == []


POSITIONS = st.none() | st.integers(0, 5) | st.sampled_from(["S1", "end"]) | st.lists(st.integers(0, 5), max_size=3)
PER_EXAMPLE = st.tuples(*(st.lists(st.integers(0, length - 1), max_size=2) for length in LENGTHS)).map(list)


def brute_force(positions: Any) -> set[tuple[int, int]]:
    """Every place one by one."""
    found = set()
    for example, length in enumerate(LENGTHS):
        for place in range(length):
            refs = positions if isinstance(positions, list) else [positions]
            if refs and isinstance(refs[0], list):
                refs = refs[example]
            if any(
                ref is None or ref == place or DATASET.roles.get(str(ref), {example: None})[example] == place
                for ref in refs
            ):
                found.add((example, place))
    return found


@given(st.tuples(*[POSITIONS | PER_EXAMPLE] * 3), st.integers(0, 2))
def test_shared_places_are_those_of_both_nodes_and_the_patch(positions: tuple[Any, Any, Any], start: int) -> None:
    """Whatever the form of the positions, and wherever the dataset was cut."""
    whole = [brute_force(one) for one in positions]
    expected = {example for example, _ in set.intersection(*whole)}
    nodes = [Node(hook="z", layer=0, positions=one) for one in positions[:2]]
    places = Places(positions[2], DATASET, Graph(SMALL))
    assert places.examples_shared(*nodes) == expected
    first = min(set.intersection(*whole), default=None)
    assert places.first_shared(*nodes) == first
    part = Places(positions[2], DATASET.slice(start, 3), Graph(SMALL)).examples_shared(*nodes)
    assert {example + start for example in part} == {example for example in expected if example >= start}


@pytest.mark.parametrize("receivers", [QUERY, {"sweep": {"hook": "q", "positions": ["end", 2]}}])
def test_representatives_agree_with_every_node(receivers: Any) -> None:
    """The short way round for large sweeps must find what the long one finds."""
    swept = patch(senders={"sweep": {"hook": "z", "positions": "each"}}, receivers=receivers, positions=["S1", "end"])
    grid = grid_of(swept, SMALL, DATASET.longest)
    places = Places(swept.positions, DATASET, Graph(SMALL))
    assert grid.receivers is not None
    ends = [node for cell in grid.receivers.cells for node in cell]
    edges = {str(node): [end for end in ends if places.graph.reaches(node, [end])] for (node,) in grid.senders.cells}
    expected = [
        node for (node,) in grid.senders.cells if not any(places.examples_shared(node, end) for end in edges[str(node)])
    ]
    assert unreachable_senders(swept, places) == expected
    assert 0 < len(expected) < len(grid.senders.cells)
