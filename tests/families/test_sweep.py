"""The engine on every family: what it shares among cells, and computes on few rows, is the plain algorithm."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node
from planning.graph import Graph, Site
from tests.random_families import ARCHITECTURES, D_MLP, N_LAYERS, random_weights
from tests.tiny_weights import node, patched, prompts, result_of
from worker.engine.model import Weights
from worker.engine.path_patch import Run, forward, path_patch, put

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


@cache
def weights_of(family: str) -> Weights:
    return random_weights(ARCHITECTURES[family])


def padded(prompts_of_run: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, prompts_of_run))
    return torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts_of_run])


def real_tokens(dataset: ResolvedDataset) -> torch.Tensor:
    lengths = torch.tensor([len(prompt) for prompt in dataset.orig])
    return torch.arange(dataset.longest)[None] < lengths[:, None]


def sites(nodes: list[dict[str, Any]]) -> list[Site]:
    return [Site.of(Node.model_validate(one)) for one in nodes]


@st.composite
def nodes(draw: st.DrawFn, family: str, hooks: list[str], layers: st.SearchStrategy[int]) -> dict[str, Any]:
    architecture, hook = ARCHITECTURES[family], draw(st.sampled_from(hooks))
    if hook in ("embed", "pos_embed"):
        return node(hook)
    more: dict[str, int] = {}
    if hook in ("q", "k", "v", "z", "pattern") and draw(st.booleans()):
        kinds = ["head", "query_head"] if hook in ("k", "v") else ["head"]
        kind = draw(st.sampled_from(kinds))
        size = architecture.n_heads_of(hook) if kind == "head" else architecture.n_heads
        more = {kind: draw(st.integers(0, size - 1))}
    if hook in ("pre", "mlp_in", "post") and draw(st.booleans()):
        more = {"neuron": draw(st.integers(0, D_MLP - 1))}
    return node(hook, draw(layers), **more)


def hooks_of(family: str, *hooks: str) -> list[str]:
    """Those that the family has."""
    architecture = ARCHITECTURES[family]
    missing = {"resid_mid"} if architecture.is_parallel else set()
    return [hook for hook in hooks if hook not in missing | ({"pos_embed"} if architecture.rotary else set())]


@st.composite
def patches(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]], list[dict[str, Any]]]:
    """A family, senders and receivers without overlaps."""
    family = draw(st.sampled_from(list(ARCHITECTURES)))
    writers = hooks_of(family, "z", "z", "attn_out", "mlp_out", "post", "resid_pre", "resid_mid", "embed", "pos_embed")
    readers = hooks_of(family, "q", "k", "v", "pattern", "pre", "mlp_in", "resid_pre", "resid_mid", "resid_post")
    early, late = st.integers(0, 1), st.integers(0, N_LAYERS - 1)
    senders = draw(st.lists(nodes(family, writers, early), min_size=1, max_size=3))
    receivers = draw(st.lists(nodes(family, readers, late), min_size=1, max_size=3))
    graph = Graph(ARCHITECTURES[family])
    assume(not list(graph.overlaps(sites(senders))) and not list(graph.clashes(sites(receivers))))
    return family, senders, receivers


LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=3)


def logit_diff(final: Run, dataset: ResolvedDataset) -> torch.Tensor:
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    logits = final["logits", None][batch, end]
    return logits[batch, dataset.answers["A"]] - logits[batch, dataset.answers["B"]]


@settings(max_examples=60)
@given(LENGTHS, patches(), st.booleans(), st.sampled_from(["add", "overwrite"]), st.integers(0, 3), st.integers(0, 99))
def test_the_sweep_is_the_plain_algorithm(
    lengths: list[int],
    patch: tuple[str, list[dict[str, Any]], list[dict[str, Any]]],
    through_mlps: bool,
    update: str,
    head: int,
    seed: int,
) -> None:
    """Both algorithms, every hook, prompts of unequal length: logits and an attention of the final run agree."""
    family, senders, receivers = patch
    weights, dataset = weights_of(family), prompts(lengths, seed)
    final = path_patch(
        weights, padded(dataset.orig), padded(dataset.new), sites(senders), sites(receivers), real_tokens(dataset),
        through_mlps, update == "overwrite",
    )  # fmt: skip
    spec = {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps, "receiver_update": update}
    np.testing.assert_allclose(patched(weights, dataset, spec), logit_diff(final, dataset), **CLOSE)
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    attention = {"kind": "attention", "query": "end", "key": "first", "head": {"layer": 2, "head": head}}
    expected = final["pattern", 2][batch, end, head, 0]
    np.testing.assert_allclose(patched(weights, dataset, spec, attention), expected, **CLOSE)


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("through_mlps", [False, True])
def test_a_swept_cell_is_the_patch_of_its_two_heads(family: str, through_mlps: bool) -> None:
    """Every head into the queries, keys and values of the last two layers, cell by cell."""
    weights, dataset = weights_of(family), prompts([5, 3], seed=1)
    runs = padded(dataset.orig), padded(dataset.new)
    for hook in ("q", "k", "v"):
        sweeps = {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": hook, "layers": [1, 2]}}}
        values = patched(weights, dataset, {**sweeps, "direct_includes_mlps": through_mlps})
        for sender, receiver in [((0, 0), (0, 0)), ((0, 3), (1, 1)), ((1, 2), (1, 0))]:
            ends = [Site("z", sender[0], sender[1])], [Site(hook, receiver[0] + 1, receiver[1])]
            final = path_patch(weights, *runs, *ends, real_tokens(dataset), through_mlps)
            np.testing.assert_allclose(values[(*sender, *receiver)], logit_diff(final, dataset), **CLOSE)


@settings(max_examples=40)
@given(LENGTHS, st.data(), st.integers(0, 99))
def test_activation_patching_sets_what_it_names(lengths: list[int], data: st.DataObject, seed: int) -> None:
    """One node of any hook is set to its value in new, and all that follows is computed again."""
    family = data.draw(st.sampled_from(list(ARCHITECTURES)))
    hooks = hooks_of(
        family, "z", "q", "k", "v", "pattern", "attn_out", "pre", "post", "mlp_out", "resid_mid", "resid_pre"
    )
    one = data.draw(nodes(family, hooks, st.integers(0, N_LAYERS - 1)))
    weights, dataset = weights_of(family), prompts(lengths, seed)
    (site,), here = sites([one]), real_tokens(dataset)
    new = forward(weights, padded(dataset.new))

    def set_it(point: tuple[str, int | None], value: torch.Tensor, run: Run) -> torch.Tensor:
        return put(value, new[point], site.unit, here) if point == (site.hook, site.layer) else value

    final = forward(weights, padded(dataset.orig), set_it)
    found = patched(weights, dataset, {"kind": "activation", "nodes": [one]})
    np.testing.assert_allclose(found, logit_diff(final, dataset), **CLOSE)


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("through_mlps", [False, True])
def test_all_writers_into_the_end_make_new(family: str, through_mlps: bool) -> None:
    """The result's own check, and orig patched with itself changes nothing, bit for bit."""
    weights, dataset = weights_of(family), prompts([6, 4], seed=2)
    patch = {"senders": {"sweep": {"hook": "z"}}, "receivers": [node("resid_post", 2)]}
    checks = result_of(weights, dataset, {**patch, "direct_includes_mlps": through_mlps}).checks
    assert checks["identity_max_abs"] == 0
    assert checks["completeness_max_abs"] < 1e-4
