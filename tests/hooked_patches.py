"""Path patches of any architecture, drawn as a spec has them, and where each node takes part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node, Positions
from planning.architecture import Architecture
from planning.graph import Graph, Site

SENDERS = ("z", "z", "attn_out", "mlp_out", "post", "resid_pre", "resid_mid", "resid_post", "embed")
RECEIVERS = ("q", "k", "v", "pattern", "pre", "mlp_in", "resid_pre", "resid_mid", "resid_post")
ROLES = ("first", "middle", "end")
Masks = dict[int, Tensor]


@dataclass(frozen=True)
class Drawn:
    """A patch."""

    senders: list[Node]
    receivers: list[Node]
    positions: Positions | None
    through_mlps: bool
    overwrites: bool
    masks: Masks
    """By ``id`` of the node, [batch pos]."""

    @property
    def spec(self) -> dict[str, Any]:
        """As a job states it."""
        return {
            "senders": [node.model_dump() for node in self.senders],
            "receivers": [node.model_dump() for node in self.receivers],
            "positions": self.positions,
            "direct_includes_mlps": self.through_mlps,
            "receiver_update": "overwrite" if self.overwrites else "add",
        }


@st.composite
def patches(draw: st.DrawFn, architecture: Architecture, dataset: ResolvedDataset) -> Drawn:
    """Up to three senders and receivers, none of which includes another where both take part."""
    positions = draw(st.one_of(*[st.none()] * 3, _positions(dataset), _positions_by_example(dataset)))
    everywhere, masks, graph = mask_of(positions, dataset), {}, Graph(architecture)
    ends = []
    for hooks, pairs_of in ((SENDERS, graph.overlaps), (RECEIVERS, graph.clashes)):
        kept: list[Node] = []
        for node in draw(st.lists(_nodes(architecture, hooks, dataset), min_size=1, max_size=3)):
            masks[id(node)] = everywhere & mask_of(node.positions, dataset)
            pairs = pairs_of([Site.of(one) for one in (*kept, node)])
            own = [kept[earlier] for earlier, later in pairs if later == len(kept)]
            if not any((masks[id(node)] & masks[id(other)]).any() for other in own):
                kept.append(node)
        ends.append(kept)
    return Drawn(*ends, positions, draw(st.booleans()), draw(st.booleans()), masks)


@st.composite
def _nodes(draw: st.DrawFn, architecture: Architecture, hooks: Sequence[str], dataset: ResolvedDataset) -> Node:
    hook = draw(st.sampled_from([hook for hook in hooks if hook != "resid_mid" or not architecture.is_parallel]))
    positions = draw(st.one_of(*[st.none()] * 3, _positions(dataset)))
    if hook == "embed":
        return Node(hook=hook, positions=positions)
    unit: dict[str, int] = {}
    if draw(st.booleans()):
        unit = draw(_units(architecture, hook))
    layers = draw(st.tuples(*[st.integers(0, architecture.n_layers - 1)] * 2))
    layer = min(layers) if hooks is SENDERS else max(layers)  # so that most patches change something
    return Node(hook=hook, layer=layer, positions=positions, **unit)  # type: ignore[arg-type]


def _units(architecture: Architecture, hook: str) -> st.SearchStrategy[dict[str, int]]:
    def upto(name: str, size: int) -> st.SearchStrategy[dict[str, int]]:
        return st.integers(0, size - 1).map(lambda unit: {name: unit})

    if hook in ("k", "v"):
        return upto("head", architecture.n_kv_heads) | upto("query_head", architecture.n_heads)
    if hook in ("q", "z", "pattern"):
        return upto("head", architecture.n_heads)
    return upto("neuron", architecture.d_mlp) if hook in ("pre", "post", "mlp_in") else st.just({})


def _positions(dataset: ResolvedDataset) -> st.SearchStrategy[Any]:
    place = st.sampled_from(ROLES) | st.integers(0, min(map(len, dataset.orig)) - 1)
    return st.none() | place | st.lists(place, min_size=1, max_size=3)


def _positions_by_example(dataset: ResolvedDataset) -> st.SearchStrategy[Any]:
    return st.tuples(
        *(st.lists(st.integers(0, len(prompt) - 1), min_size=1, max_size=3, unique=True) for prompt in dataset.orig)
    ).map(list)


def mask_of(positions: Positions | None, dataset: ResolvedDataset) -> Tensor:
    """Which tokens of each example a spec's ``positions`` name: [batch pos]."""
    mask = torch.zeros(len(dataset), dataset.longest, dtype=torch.bool)
    for row, prompt in enumerate(dataset.orig):
        own: Any = positions
        if isinstance(own, list) and isinstance(own[0], list):
            own = own[row]
        for place in range(len(prompt)) if own is None else own if isinstance(own, list) else [own]:
            mask[row, dataset.roles[place][row] if isinstance(place, str) else place] = True
    return mask
