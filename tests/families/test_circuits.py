"""Circuits of every family: a plain recursion, one node at a time by hooks on whole forward passes, agrees."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.datasets import ResolvedDataset
from planning.circuit import INPUTS, CircuitGraph, Members
from tests.family_patches import CLOSE, logit_diff, padded, sites, weights_of
from tests.random_families import ARCHITECTURES
from tests.tiny_weights import node, prompts, result_of
from worker.engine import transformer
from worker.engine.edge_run import Base, circuit_run, heads_writes
from worker.engine.model import Weights
from worker.engine.path_patch import Run, forward, path_patch, put
from worker.engine.runs import Runs, clean_runs

PLAIN = [family for family, one in ARCHITECTURES.items() if not one.has_post_norms]


def recursion(weights: Weights, dataset: ResolvedDataset, members: Members) -> Run:
    """Each node in turn, in a run on new in which it alone reads its own input; the logits last."""
    graph = CircuitGraph(weights.architecture)
    edges = graph.matrix(members)
    orig, new = (forward(weights, padded(tokens)) for tokens in (dataset.orig, dataset.new))
    changes = [orig["embed", None] - new["embed", None]]

    def read(reader: int, point: tuple[str, int | None]) -> torch.Tensor:
        return sum((changes[writer] for writer in np.flatnonzero(edges[reader])), new[point].clone())

    mid = "resid_pre" if weights.architecture.is_parallel else "resid_mid"
    for layer in range(weights.architecture.n_layers):
        first = layer * graph.readers_per_layer
        base, outputs = heads_writes(weights, layer, new["z", layer]), new["z", layer].clone()
        is_live = [edges[first + 3 * head : first + 3 * head + 3].any() for head in range(weights.architecture.n_heads)]
        for head in filter(is_live.__getitem__, range(weights.architecture.n_heads)):
            inputs = [read(first + 3 * head + part, ("resid_pre", layer)) for part in range(3)]
            outputs[:, :, head] = z_of(weights, layer, head, inputs, padded(dataset.new))
        writes = heads_writes(weights, layer, outputs)
        heads = [(writes - base)[:, :, head] * bool(is_live[head]) for head in range(weights.architecture.n_heads)]
        changes += [] if weights.architecture.is_parallel else heads
        reader = first + graph.readers_per_layer - 1
        of_mlp = torch.zeros_like(changes[0])
        if edges[reader].any():
            of_mlp = transformer.mlp(weights, layer, read(reader, (mid, layer))) - new["mlp_out", layer]
        changes += [*(heads if weights.architecture.is_parallel else []), of_mlp]
    last = read(len(graph.readers) - 1, ("resid_pre", weights.architecture.n_layers))
    return {("logits", None): transformer.unembed(weights, transformer.norm(weights, "ln_final", None, last))}


def z_of(weights: Weights, layer: int, head: int, inputs: list[torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """What one head computes from a query, key and value input of its own."""
    hooks = {name if name == "q" else f"query_{name}": resid for name, resid in zip(INPUTS, inputs, strict=True)}
    here = torch.ones(tokens.shape, dtype=torch.bool)

    def edit(point: tuple[str, int | None], value: torch.Tensor, run: Run) -> torch.Tensor:
        if point[1] != layer or point[0] not in hooks:
            return value
        return put(value, transformer.read(weights, *point, hooks[point[0]]), head, here)

    found: torch.Tensor = forward(weights, tokens, edit)["z", layer][:, :, head]
    return found


def values(weights: Weights, dataset: ResolvedDataset, sets: list[Members]) -> list[torch.Tensor]:
    graph = CircuitGraph(weights.architecture)
    base = Base(Runs(clean_runs(weights, dataset.orig, dataset.new)))
    with torch.no_grad():
        resid = circuit_run(base, torch.from_numpy(graph.matrix(np.stack(sets))))
        logits = transformer.unembed(weights, transformer.norm(weights, "ln_final", None, resid))
    return [logit_diff({("logits", None): logits[:, cell]}, dataset) for cell in range(len(sets))]


@settings(max_examples=25)
@given(st.sampled_from(list(ARCHITECTURES)), st.floats(0.1, 1.0), st.integers(0, 99))
def test_random_circuits_are_the_plain_recursion(family: str, share: float, seed: int) -> None:
    """Of every family, several sets in one batch; dead ends included, but where heads share a norm's factor."""
    weights, dataset = weights_of(family), prompts([5, 3], seed)
    graph, draws = CircuitGraph(weights.architecture), np.random.default_rng(seed)
    sets = [draws.random(len(graph)) < chance for chance in (share, share / 2)]
    if weights.architecture.has_post_norms:
        sets = [graph.pruned(members) for members in sets]
    for members, found in zip(sets, values(weights, dataset, sets), strict=True):
        with torch.no_grad():
            expected = logit_diff(recursion(weights, dataset, members), dataset)
        np.testing.assert_allclose(found, expected, **CLOSE)


@pytest.mark.parametrize("family", PLAIN)
def test_an_exact_score_is_the_plain_path_patch(family: str) -> None:
    """Of one query head's key and value too, and of an MLP's whole input."""
    weights, dataset = weights_of(family), prompts([5, 3], seed=3)
    graph = CircuitGraph(weights.architecture)
    result = result_of(weights, dataset, {"kind": "circuit", "choose": {"edges": [0]}})
    keys = "head" if weights.architecture.group_size == 1 else "query_head"
    ends = {
        "input->a0.h1<k>": (node("embed"), node("k", 0, **{keys: 1})),
        "a0.h3->a2.h2<v>": (node("z", 0, head=3), node("v", 2, **{keys: 2})),
        "m1->m2": (node("mlp_out", 1), node("mlp_in", 2)),
        "a1.h0->a2.h1<q>": (node("z", 1, head=0), node("q", 2, head=1)),
        "m0->logits": (node("mlp_out", 0), node("resid_post", 2)),
    }
    orig = logit_diff(forward(weights, padded(dataset.orig)), dataset)
    for name, (sender, receiver) in ends.items():
        runs = padded(dataset.orig), padded(dataset.new)
        final = path_patch(weights, *runs, sites([sender]), sites([receiver]), overwrite=False)
        expected = (logit_diff(final, dataset) - orig).mean()
        np.testing.assert_allclose(result.arrays["0/edges/scores"][graph.edge(name)], expected, **CLOSE)


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("source", ["new", "zero", "mean"])
def test_jobs_check_themselves_on_every_family(family: str, source: str) -> None:
    """All edges are orig, none are new, one removed is its path patch; scores sum up alike by all methods."""
    weights, dataset = weights_of(family), prompts([5, 3, 6], seed=4)
    for method in ("exact", "attribution", "integrated"):
        patch = {"kind": "circuit", "source": source, "score": {"method": method}, "choose": {"edges": [40]}}
        result = result_of(weights, dataset, patch)
        assert result.checks["all_edges_max_abs"] < 1e-4
        assert result.checks["one_edge_max_abs"] < 1e-4
        assert np.isfinite(result.arrays["0/edges/scores"]).all()
