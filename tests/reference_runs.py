"""The oracle's ground: running the bridge with hooks, positions as masks, setting activations, sources.

Names of activations are TransformerLens' own. One trap: on the bridge, ``hook_resid_mid`` sits on the branch into the
MLP only. It is safe to read; to change that point of the stream, change what is written just before it, attn_out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from api_schemas.nodes import Node, Positions

Values = Mapping[str, Tensor]
HookFn = Callable[[Tensor, Any], Tensor | None]
Hooks = list[tuple[str, HookFn]]

# The order of a forward pass within a layer.
_ORDER = ["resid_pre", "q", "k", "v", "pattern", "z", "attn_out", "resid_mid", "pre", "post", "mlp_out", "resid_post"]


@dataclass(frozen=True)
class Run:
    """What a metric may read from one run."""

    tokens: Tensor
    """[batch pos]"""
    logits: Tensor
    """[batch pos d_vocab]"""
    patterns: list[Tensor]
    """Per layer [batch head query_pos key_pos]."""


# ---- running the model ------------------------------------------------------------------------------------------


@torch.no_grad()
def run(model: TransformerBridge, tokens: Tensor, hooks: Hooks | None = None) -> Run:
    """One forward pass with hooks; the patterns are those after the hooks."""
    patterns: dict[str, Tensor] = {}

    def keep(name: str) -> HookFn:
        return lambda value, hook: patterns.__setitem__(name, value)

    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    logits = model.run_with_hooks(tokens, fwd_hooks=[*(hooks or []), *((name, keep(name)) for name in names)])
    return Run(tokens, logits, [patterns[name] for name in names])


@torch.no_grad()
def activations(model: TransformerBridge, tokens: Tensor, names: Iterable[str], hooks: Hooks | None = None) -> Values:
    """The named activations of one forward pass with hooks."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> HookFn:
        return lambda value, hook: kept.__setitem__(name, value)

    reading: Hooks = [(name, keep(name)) for name in dict.fromkeys(names)]
    model.run_with_hooks(tokens, fwd_hooks=[*(hooks or []), *reading], return_type=None)
    return kept


@torch.no_grad()
def dataset_means(
    model: TransformerBridge, new_prompts: Sequence[Sequence[int]], nodes: Iterable[Node], over: str = "position"
) -> Values:
    """Mean of each node's activation over the dataset's new runs, per position or the same for ``all``.

    A position's mean is over the prompts that are long enough to have it; padding on the right changes nothing before.
    """
    lengths = torch.tensor([len(prompt) for prompt in new_prompts])
    tokens = torch.tensor([[*prompt, *[0] * (int(lengths.max()) - len(prompt))] for prompt in new_prompts])
    exists = torch.arange(tokens.shape[1]) < lengths[:, None]  # [batch pos]
    means = {}
    for name, value in activations(model, tokens, [node.hook_name for node in nodes]).items():
        axes = (..., None) if name.endswith("pattern") else (..., *[None] * (value.dim() - 2))
        here = exists[:, None][axes] if name.endswith("pattern") else exists[axes]
        means[name] = (torch.where(here, value, 0.0).sum(0) / here.sum(0)).float()
        if over == "all":
            means[name] = value[exists].mean(0).expand(value.shape[1:])
    return means


# ---- positions, heads and neurons as masks ----------------------------------------------------------------------


def position_mask(positions: Positions | None, tokens: Tensor, roles: Mapping[str, Sequence[int]]) -> Tensor:
    """Which positions of each example a spec's ``positions`` names: [batch pos]."""
    n_examples, n_positions = tokens.shape
    if positions is None:
        return torch.ones(n_examples, n_positions, dtype=torch.bool)
    mask = torch.zeros(n_examples, n_positions, dtype=torch.bool)
    for example in range(n_examples):
        chosen: Any = positions
        if isinstance(positions, list) and isinstance(positions[0], list):
            chosen = positions[example]
        for position in chosen if isinstance(chosen, list) else [chosen]:
            place = roles[position][example] if isinstance(position, str) else position
            if place < n_positions:  # a sweep over each position of the longest prompt leaves shorter ones as they are
                mask[example, place] = True
    return mask


def places(node: Node, mask: Tensor, value: Tensor) -> Tensor:
    """Which entries of an activation belong to a node at masked positions: a mask that broadcasts to ``value``."""
    chosen = torch.ones(value.shape[1 if node.hook == "pattern" else 2], dtype=torch.bool)
    index = node.head if node.head is not None else node.neuron
    if index is not None:
        chosen = torch.arange(len(chosen)) == index
    if node.hook == "pattern":  # [batch head query_pos key_pos]
        return mask[:, None, :, None] & chosen[None, :, None, None]
    if node.hook in ("z", "q", "k", "v"):  # [batch pos head d_head]
        return mask[:, :, None, None] & chosen[None, None, :, None]
    if node.hook in ("pre", "post"):  # [batch pos d_mlp]
        return mask[:, :, None] & chosen
    return mask[:, :, None]  # [batch pos d_model]


# ---- setting activations ----------------------------------------------------------------------------------------


def in_forward_order(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: (-1, 0) if node.layer is None else (node.layer, _ORDER.index(node.hook)))


def setting_hooks(nodes: Iterable[Node], masks: Mapping[int, Tensor], values: Values) -> Hooks:
    """Hooks that set each node to the given value at its masked positions. ``masks`` is keyed by ``id(node)``."""
    hooks: Hooks = []
    for node in in_forward_order(nodes):
        value, mask = values[node.hook_name], masks[id(node)]
        hooks += set_resid_mid(node.layer, mask, value) if node.hook == "resid_mid" else [set_node(node, mask, value)]
    return hooks


def set_node(node: Node, mask: Tensor, value: Tensor) -> tuple[str, HookFn]:
    return node.hook_name, lambda live, hook: torch.where(places(node, mask, live), value, live)


def set_resid_mid(layer: int | None, mask: Tensor, value: Tensor) -> Hooks:
    """resid_mid is resid_pre + attn_out, so attn_out becomes what is missing."""
    live: dict[str, Tensor] = {}

    def keep_resid_pre(resid_pre: Tensor, hook: Any) -> None:
        live["resid_pre"] = resid_pre

    def set_attn_out(attn_out: Tensor, hook: Any) -> Tensor:
        return torch.where(mask[:, :, None], value - live["resid_pre"], attn_out)

    return [(f"blocks.{layer}.hook_resid_pre", keep_resid_pre), (f"blocks.{layer}.hook_attn_out", set_attn_out)]


def source_values(
    model: TransformerBridge,
    new_tokens: Tensor,
    nodes: Sequence[Node],
    orig_cache: Values,
    source: Literal["new", "zero", "mean"],
    means: Values | None,
) -> Values:
    """What the nodes' activations become."""
    names = {node.hook_name for node in nodes}
    if source == "zero":
        return {name: torch.zeros_like(orig_cache[name]) for name in names}
    if source == "new":
        return activations(model, new_tokens, names)
    if means is None:
        raise ValueError("source 'mean' needs the means of the whole dataset: dataset_means()")
    n_pos = new_tokens.shape[1]
    cut = {
        name: value[:, :n_pos, :n_pos] if name.endswith("pattern") else value[:n_pos] for name, value in means.items()
    }
    return {name: cut[name].expand_as(orig_cache[name]) for name in names}
