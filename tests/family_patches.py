"""Patches of every family, drawn, and what the plain algorithm needs of a dataset."""

from functools import cache
from typing import Any

import torch
from hypothesis import assume
from hypothesis import strategies as st

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node
from planning.graph import Graph, Site
from tests.random_families import ARCHITECTURES, D_MLP, N_LAYERS, random_weights
from tests.tiny_weights import node
from worker.engine.model import Weights
from worker.engine.path_patch import Run

CLOSE = {"atol": 2e-5, "rtol": 2e-5}


@cache
def weights_of(family: str) -> Weights:
    """Random ones."""
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


Patch = tuple[str, list[dict[str, Any]], list[dict[str, Any]]]
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=3)


def logit_diff(final: Run, dataset: ResolvedDataset) -> torch.Tensor:
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    logits = final["logits", None][batch, end]
    return logits[batch, dataset.answers["A"]] - logits[batch, dataset.answers["B"]]
