"""Paths of several hops, of every family: a forward pass per hop agrees, and a circuit is the union of its paths."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.circuit import CircuitGraph
from planning.graph import Graph, Site, is_in_attention, is_in_mlp
from tests.family_patches import CLOSE, hooks_of, logit_diff, nodes, padded, real_tokens, sites, weights_of
from tests.random_families import ARCHITECTURES, N_LAYERS
from tests.tiny_weights import LOGIT_DIFF, node, prompts, result_of
from tests.ways import paths_of, random_ways
from worker.engine.model import Weights
from worker.engine.path_patch import forward, patch_between


def patched(weights: Weights, dataset: Any, paths: list[list[dict[str, Any]]], **more: Any) -> np.ndarray:
    """As a job finds it, per example."""
    patch = {"paths": paths, **more}
    result = result_of(weights, dataset, patch, [LOGIT_DIFF], output={"per_example": True})
    assert result.checks["identity_max_abs"] == 0
    return result.arrays["0/patched"]


def plain(weights: Weights, dataset: Any, path: list[dict[str, Any]]) -> torch.Tensor:
    """One path: a whole forward pass on orig for each component on the way, in which its input alone is changed."""
    orig_tokens = padded(dataset.orig)
    orig, new = forward(weights, orig_tokens), forward(weights, padded(dataset.new))
    here = real_tokens(dataset)
    live, senders = new, sites(path[:1])
    for receiver in sites(path[1:-1]):
        run = patch_between(weights, orig_tokens, orig, live, senders, [receiver], here, False, False)
        live, senders = run, components(weights, receiver)
        if receiver.hook.startswith("resid"):
            layer = receiver.layer + (receiver.hook == "resid_post")
            senders = [Site("resid_mid" if receiver.hook == "resid_mid" else "resid_pre", layer)]
            if layer == weights.architecture.n_layers:
                senders = [Site("resid_post", layer - 1)]
    final = patch_between(weights, orig_tokens, orig, live, senders, sites(path[-1:]), here, False, False)
    return logit_diff(final, dataset)


def components(weights: Weights, receiver: Site) -> list[Site]:
    if is_in_attention(receiver.hook):
        heads = Graph(weights.architecture).query_heads_of(receiver) or range(weights.architecture.n_heads)
        return [Site("z", receiver.layer, head) for head in heads]
    if is_in_mlp(receiver.hook):
        return [Site("post", receiver.layer, neuron=receiver.neuron)]
    return [receiver]


@st.composite
def single_paths(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """One path that leads on at every hop."""
    family = draw(st.sampled_from(list(ARCHITECTURES)))
    first = hooks_of(family, "z", "attn_out", "mlp_out", "post", "embed", "resid_pre")
    middle = hooks_of(family, "q", "k", "v", "pattern", "pre", "mlp_in", "resid_mid", "resid_pre")
    path = [draw(nodes(family, first, st.just(0)))]
    for layer in range(1, draw(st.integers(2, N_LAYERS))):
        path.append(draw(nodes(family, middle, st.just(layer))))
    last = draw(st.sampled_from(["resid_post", "q", "v", "pre"]))
    if last == "resid_post" or path[-1]["layer"] == N_LAYERS - 1:
        return family, [*path, node("resid_post", N_LAYERS - 1)]
    return family, [*path, draw(nodes(family, [last], st.just(N_LAYERS - 1)))]


@settings(max_examples=25)
@given(single_paths(), st.integers(0, 99))
def test_a_path_is_its_hops_one_by_one(drawn: tuple[str, list[dict[str, Any]]], seed: int) -> None:
    """Every hook that can stand on the way, every family."""
    family, path = drawn
    weights, dataset = weights_of(family), prompts([5, 3], seed)
    with torch.no_grad():
        expected = plain(weights, dataset, path)
    np.testing.assert_allclose(patched(weights, dataset, [path]), expected, **CLOSE)


def test_a_path_of_two_nodes_is_a_path_patch_bit_for_bit() -> None:
    """At some positions too."""
    for family in ("llama", "gptj", "gemma2"):
        weights, dataset = weights_of(family), prompts([5, 3], seed=1)
        for sender, receiver in [(node("z", 0, head=1), node("q", 2, head=3)), (node("embed"), node("v", 1, head=0))]:
            for positions in (None, [1, "end"]):
                ends = {"senders": [sender], "receivers": [receiver], "positions": positions}
                result = result_of(weights, dataset, ends, [LOGIT_DIFF], output={"per_example": True})
                found = patched(weights, dataset, [[sender, receiver]], positions=positions)
                np.testing.assert_array_equal(found, result.arrays["0/patched"])


@pytest.mark.parametrize("source", ["new", "zero", "mean"])
def test_paths_of_two_nodes_are_senders_and_receivers(source: str) -> None:
    """Several edges into one input add up; at positions that each node names."""
    weights, dataset = weights_of("llama"), prompts([5, 3, 4], seed=2)
    senders = [node("z", 0, head=1), node("mlp_out", 0), node("z", 1, head=2, positions=[1, 2])]
    receiver = node("q", 2, head=3, positions=["end", 0])
    ends = {"senders": senders, "receivers": [receiver], "source": source}
    expected = result_of(weights, dataset, ends, [LOGIT_DIFF], output={"per_example": True}).arrays["0/patched"]
    found = patched(weights, dataset, [[sender, receiver] for sender in senders], source=source)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_a_swept_first_node_is_each_of_its_cells() -> None:
    """Cells that cannot reach the second node keep orig, and say so; a fixed path beside it is in every cell."""
    weights, dataset = weights_of("gemma2"), prompts([5, 3], seed=3)
    rest = [node("k", 2, head=1), node("resid_post", 2)]
    fixed = [node("embed"), node("mlp_in", 0), *rest]
    found = patched(weights, dataset, [[{"sweep": {"hook": "z"}}, *rest], fixed])
    assert found.shape == (3, 4, 2)
    for layer, head in ((0, 1), (1, 3)):
        expected = patched(weights, dataset, [[node("z", layer, head=head), *rest], fixed])
        np.testing.assert_allclose(found[layer, head], expected, **CLOSE)
    np.testing.assert_allclose(found[2], np.tile(patched(weights, dataset, [fixed]), (4, 1)), **CLOSE)
    alone = result_of(weights, dataset, {"paths": [[{"sweep": {"hook": "z"}}, *rest]]}, [LOGIT_DIFF])
    assert alone.arrays["0/reachable"][:2].all()
    assert not alone.arrays["0/reachable"][2].any()


def test_a_node_in_which_a_path_ends_is_followed_no_further() -> None:
    """From there on the run is live, so that the rest of another path through it says nothing more."""
    weights, dataset = weights_of("gpt_neo"), prompts([5, 3], seed=4)
    sender, shared = node("z", 0, head=1), node("q", 1, head=3)
    longer = [sender, shared, node("v", 2, head=0), node("resid_post", 2)]
    found = patched(weights, dataset, [[sender, shared], longer])
    np.testing.assert_array_equal(found, patched(weights, dataset, [[sender, shared]]))


@pytest.mark.parametrize("family", [name for name, one in ARCHITECTURES.items() if not one.has_post_norms])
def test_a_circuit_is_the_union_of_its_paths(family: str) -> None:
    """What the circuit leaves to new is orig of the paths, and its live embedding is their source."""
    weights, dataset = weights_of(family), prompts([5, 3], seed=5)
    swapped = dataset.model_copy(update={"orig": dataset.new, "new": dataset.orig})
    graph, draws = CircuitGraph(weights.architecture), np.random.default_rng(6)
    for _ in range(2):
        members = random_ways(graph, draws)
        names = [graph.names[edge] for edge in np.flatnonzero(members)]
        patch = {"kind": "circuit", "edges": {"drawn": names}}
        result = result_of(weights, dataset, patch, output={"per_example": True})
        found = patched(weights, swapped, paths_of(graph, members))
        np.testing.assert_allclose(found, result.arrays["0/circuits/0/per_example"], **CLOSE)
