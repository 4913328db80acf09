"""Nodes, edges, pruning, choice and curves of circuits, against EAP-IG's and MIB's own figures."""

from dataclasses import replace

import numpy as np
import pytest

from api_schemas.circuits import CircuitPatch
from planning.architecture import Architecture
from planning.circuit import CircuitGraph, UnfitEdge
from planning.circuit_choice import (
    chosen_circuits,
    cmd,
    cpr,
    faithfulness,
    greedy_edges,
    key_of,
    mean_jaccard,
    sizes_of,
)
from planning.circuit_rounds import at_start
from tests import golden_circuits

ARCHITECTURE = Architecture(4, 4, 64, 256, n_ctx=16, d_vocab=211)
GRAPH = CircuitGraph(ARCHITECTURE)
PARALLEL = CircuitGraph(replace(ARCHITECTURE, is_parallel=True))
RANKS = {"abs": "absolute", "signed": "signed"}


def test_edges_have_the_names_and_the_order_of_eap_ig() -> None:
    """Scores and circuits are exchanged by index and by name."""
    assert GRAPH.names == golden_circuits.read("edges")["edges"]


@pytest.mark.parametrize(("n_layers", "n_heads", "count"), [(4, 4, 479), (4, 8, 1519), (12, 12, 32491)])
def test_a_model_has_as_many_edges_as_mib_counts(n_layers: int, n_heads: int, count: int) -> None:
    """The formula of the golden README, and GPT-2 small's well-known number."""
    assert len(CircuitGraph(Architecture(n_layers, n_heads, 24, 8, n_ctx=16, d_vocab=9))) == count


def test_every_edge_is_found_by_its_name() -> None:
    """Names are how users give circuits."""
    assert [GRAPH.edge(name) for name in GRAPH.names] == list(range(len(GRAPH)))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a1.h0", "'a0.h1->a2.h3<q>'"),
        ("a1.h0->a9.h0<q>", "layers 0 to 3"),
        ("a1.h7->m3", "heads 0 to 3"),
        ("a1.h0->a2.h0", "<q>, <k> or <v>"),
        ("a1.h0<q>->m3", "belongs to the end"),
        ("b1->m3", "none of 'input'"),
        ("m3->a1.h0<q>", "leads backwards"),
        ("m1->m1", "to itself"),
        ("a1.h0->a1.h1<q>", "do not read one another"),
        ("logits->m1", "write nothing"),
        ("m1->input", "backwards"),
    ],
)
def test_an_edge_that_does_not_exist_is_told_why(name: str, why: str) -> None:
    """A slip in one of a thousand names is found by its message."""
    with pytest.raises(UnfitEdge, match=why):
        GRAPH.edge(name)


def test_in_a_parallel_block_heads_do_not_reach_their_layers_mlp() -> None:
    """It reads before they write."""
    assert len(PARALLEL) == len(GRAPH) - 16
    with pytest.raises(UnfitEdge, match="parallel"):
        PARALLEL.edge("a1.h0->m1")
    assert PARALLEL.names[PARALLEL.edge("a1.h0->m2")] == "a1.h0->m2"
    assert PARALLEL.names.index("input->m0") == 12


@pytest.mark.parametrize(
    "index", [index for index, one in enumerate(golden_circuits.read("circuits")["circuits"]) if "chosen" in one]
)
def test_circuits_are_chosen_and_pruned_as_eap_ig_does(index: int) -> None:
    """Fed with its own scores, but for ties at the cut."""
    golden = golden_circuits.read("circuits")["circuits"][index]
    key = key_of(golden_circuits.scores()[golden["scores"]], RANKS[golden["order"]])
    by = "greedy" if golden["selection"] == "greedy" else "top"
    (chosen,) = chosen_circuits(GRAPH, key, by, [golden["n"]])
    if golden.get("margin", 1.0) > 1e-9:
        assert np.flatnonzero(chosen).tolist() == golden["chosen"]
    chosen = GRAPH.members(golden["chosen"])
    pruned = GRAPH.pruned(chosen)
    assert np.flatnonzero(chosen & ~pruned).tolist() == golden["pruned_away"]
    assert pruned.sum() == golden["after_pruning"]
    assert GRAPH.nodes_of(pruned) == [name for name in golden["nodes"] if name != "logits"] + ["logits"] * any(pruned)


@pytest.mark.parametrize("golden", golden_circuits.read("edge_sets"), ids=lambda golden: golden["what"])
def test_dead_ends_are_dropped(golden: dict) -> None:  # type: ignore[type-arg]
    """Arbitrary sets are mostly dead ends."""
    assert GRAPH.pruned(GRAPH.members(golden["edges"])).sum() == golden["after_pruning"]


@pytest.mark.parametrize("golden", golden_circuits.read("curves")["curves"])
def test_areas_are_those_of_mib(golden: dict) -> None:  # type: ignore[type-arg]
    """CPR and CMD over its grid, with and without the point at 0."""
    fractions = golden_circuits.read("curves")["grid"]
    values = faithfulness(np.array(golden["metric"]), golden["metric"][0], golden["metric"][-1])
    assert sizes_of(fractions, len(GRAPH)) == golden["n"]
    np.testing.assert_allclose(values, golden["faithfulness"], atol=1e-9)
    np.testing.assert_allclose(cpr(fractions[1:], values[1:]), golden["cpr_mib"], atol=1e-9)
    np.testing.assert_allclose(cmd(fractions[1:], values[1:]), golden["cmd_mib"], atol=1e-9)
    np.testing.assert_allclose(cpr(fractions, values), golden["cpr_from_0"], atol=1e-9)


def test_greedy_choice_reaches_every_edge_in_the_end() -> None:
    """All edges of a full graph lead to the logits."""
    assert sorted(greedy_edges(GRAPH, np.arange(len(GRAPH), dtype=np.float64), len(GRAPH))) == list(range(len(GRAPH)))


def test_jaccard_of_circuits() -> None:
    """Shared edges by edges of either, over pairs."""
    one, other = GRAPH.members([0, 1]), GRAPH.members([1, 2])
    assert mean_jaccard([one, one]) == 1
    assert mean_jaccard([one, other]) == pytest.approx(1 / 3)


ROUNDS = {"by": "iterated", "edges": [1, 479], "rounds": 1}


@pytest.mark.parametrize(
    ("rank", "values", "kept"),
    [
        ("signed", [2.0, 5.0], "input->m0"),
        ("absolute", [2.0, 5.0], "input->logits"),
        ("absolute", [2.0, 4.0], "input->logits"),
        ("signed", [4.99999, 5.0], "input->logits"),
    ],
)
def test_of_the_candidates_of_a_round_the_best_is_kept(rank: str, values: list[float], kept: str) -> None:
    """By the largest metric, or the one nearest the model's, which is 3; what float error may decide is a tie."""
    patch = CircuitPatch.model_validate({"kind": "circuit", "choose": {**ROUNDS, "rank": rank}})
    candidates = np.stack([GRAPH.members([GRAPH.edge(name)]) for name in ("input->logits", "input->m0")])
    state = replace(at_start(GRAPH), candidates=candidates).settled(patch, np.array(values), 3.0)
    assert [GRAPH.names[edge] for edge in np.flatnonzero(state.members)] == [kept]
    assert state.is_done(patch, GRAPH)
    alone, everything = state.circuits(patch, GRAPH)
    assert (alone == state.members).all()
    assert everything.all()


def test_the_least_go_in_several_ways() -> None:
    """An edge that hinders more than any helps goes first or stays longest: both are tried, without dead ends."""
    patch = CircuitPatch.model_validate({"kind": "circuit", "choose": {**ROUNDS, "edges": [2], "rank": "signed"}})
    scores = np.zeros(len(GRAPH))
    hinders, helps = GRAPH.edge("input->logits"), GRAPH.edge("a0.h0->logits")
    scores[[hinders, helps, GRAPH.edge("input->a0.h0<v>")]] = 3.0, -2.0, -1.0
    state = at_start(GRAPH).scored(patch, GRAPH, scores, scores)
    found = [{GRAPH.names[edge] for edge in np.flatnonzero(one)} for one in state.candidates]
    assert found == [{"a0.h0->logits", "input->a0.h0<v>"}, {"input->logits"}]
    assert len(state.chosen) == 0
