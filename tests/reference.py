"""The oracle: path patching hook by hook on TransformerBridge, in the paper's order. No code of the engine.

Written to be checked by eye against Wang et al. 2022, appendix B, and against callummcdougall/path_patching. It is
also the standard way of doing each experiment, and so the denominator of our benchmarks.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from transformer_lens.model_bridge import TransformerBridge

from api_schemas.nodes import Node, Positions
from tests.reference_metrics import metric_values
from tests.reference_runs import (
    Hooks,
    Run,
    Values,
    activations,
    dataset_means,
    in_forward_order,
    places,
    position_mask,
    run,
    setting_hooks,
    source_values,
)

__all__ = ["Run", "dataset_means", "metric_values", "patch", "patch_activations", "run"]

# Where in its layer a sender writes, and where a receiver reads.
_WRITTEN_AT = {"embed": -1, "pos_embed": -1, "resid_pre": 0, "z": 2, "attn_out": 2, "resid_mid": 3, "post": 5}
_WRITTEN_AT |= {"mlp_out": 5, "resid_post": 6}
_READ_AT = {"resid_pre": 0, "q": 1, "k": 1, "v": 1, "pattern": 1, "resid_mid": 3, "pre": 4, "resid_post": 6}


# ---- the two algorithms: how much does each receiver's residual-stream input change? ------------------------------


def input_name(receiver: Node) -> str:
    """The residual-stream point that a receiver reads."""
    if receiver.hook in ("pre", "resid_mid"):
        return f"blocks.{receiver.layer}.hook_resid_mid"
    if receiver.hook == "resid_post":
        return f"blocks.{receiver.layer}.hook_resid_post"
    return f"blocks.{receiver.layer}.hook_resid_pre"


def written_at(sender: Node) -> int:
    return -1 if sender.layer is None else 6 * sender.layer + _WRITTEN_AT[sender.hook]


def read_at(receiver: Node) -> int:
    assert receiver.layer is not None
    return 6 * receiver.layer + _READ_AT[receiver.hook]


def written(model: TransformerBridge, sender: Node, change: Tensor) -> Tensor:
    """What a change of the sender's activation writes into the residual stream."""
    if sender.hook == "z":
        return torch.einsum("bphd,hdm->bpm", change, model.blocks[sender.layer].attn.W_O)
    return torch.matmul(change, model.blocks[sender.layer].mlp.W_out) if sender.hook == "post" else change


def changes_by_skip_connections(
    model: TransformerBridge,
    senders: Sequence[Node],
    receivers: Sequence[Node],
    masks: Mapping[int, Tensor],
    orig_cache: Values,
    source: Values,
) -> dict[int, Tensor]:
    """Each receiver's input gets the changes of all senders that write before it, and nothing else."""
    writes = {}
    for sender in senders:
        orig = orig_cache[sender.hook_name]
        change = torch.where(places(sender, masks[id(sender)], orig), source[sender.hook_name] - orig, 0.0)
        writes[id(sender)] = written(model, sender, change)
    nothing = torch.zeros_like(next(iter(writes.values())))
    return {
        id(receiver): sum((writes[id(sender)] for sender in senders if written_at(sender) < read_at(receiver)), nothing)
        for receiver in receivers
    }


def changes_through_mlps(
    model: TransformerBridge,
    orig_tokens: Tensor,
    senders: Sequence[Node],
    receivers: Sequence[Node],
    masks: Mapping[int, Tensor],
    orig_cache: Values,
    source: Values,
) -> dict[int, Tensor]:
    """Run on orig with every head frozen to orig, senders set to their source and MLPs live; read the receivers.

    One run serves all receivers, but a receiver that sits at the very point that a sender sets must not see it.
    """
    z_names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)]
    freezing: Hooks = [(name, lambda z, hook, name=name: orig_cache[name]) for name in z_names]  # type: ignore[misc]
    changes = {}
    shared_points = {read_at(receiver) for receiver in receivers} & {written_at(sender) for sender in senders}
    for point in (None, *shared_points):
        earlier = [sender for sender in senders if written_at(sender) != point]
        hooks = freezing + setting_hooks(earlier, masks, source)
        frozen = activations(model, orig_tokens, {input_name(receiver) for receiver in receivers}, hooks)
        for node in receivers:
            if point is None or point == read_at(node):
                changes[id(node)] = frozen[input_name(node)] - orig_cache[input_name(node)]
    return changes


# ---- the final run ----------------------------------------------------------------------------------------------


def read(model: TransformerBridge, hook: str, layer: int, resid: Tensor) -> Tensor:
    """A receiver's value, from the residual stream that it reads."""
    block = model.blocks[layer]
    norm = block.ln2 if hook == "pre" else block.ln1
    normalized = layer_norm(resid, resid.shape[-1:], norm.weight, norm.bias, model.cfg.eps)
    if hook == "pre":
        return torch.matmul(normalized, block.mlp.W_in) + block.mlp.b_in
    weight, bias = getattr(block.attn, f"W_{hook.upper()}"), getattr(block.attn, f"b_{hook.upper()}")
    return torch.einsum("bpm,hmd->bphd", normalized, weight) + bias


def receiver_hooks(
    model: TransformerBridge, receiver: Node, mask: Tensor, change: Tensor, orig_cache: Values, update: str
) -> Hooks:
    """Hooks of the final run that let one receiver, alone, read its changed input."""
    layer, name = receiver.layer, input_name(receiver)
    assert layer is not None
    live: dict[str, Tensor] = {}

    def keep_input(resid: Tensor, hook: Any) -> None:
        live["input"] = resid

    def changed_input() -> Tensor:
        return (orig_cache[name] if update == "overwrite" else live["input"]) + change

    def read_again(value: Tensor, hook: Any) -> Tensor:
        return torch.where(places(receiver, mask, value), read(model, receiver.hook, layer, changed_input()), value)

    def change_stream(resid: Tensor, hook: Any) -> Tensor:
        keep_input(resid, hook)
        return torch.where(mask[:, :, None], changed_input(), resid)

    def change_attn_out(attn_out: Tensor, hook: Any) -> Tensor:
        resid_pre = live["input"]
        live["input"] = resid_pre + attn_out
        return torch.where(mask[:, :, None], changed_input() - resid_pre, attn_out)

    if receiver.hook == "resid_mid":
        return [(f"blocks.{layer}.hook_resid_pre", keep_input), (f"blocks.{layer}.hook_attn_out", change_attn_out)]
    if receiver.hook in ("resid_pre", "resid_post"):
        return [(receiver.hook_name, change_stream)]
    return [(name, keep_input), (receiver.hook_name, read_again)]


def elementary(receivers: Iterable[Node]) -> list[Node]:
    """A head's pattern is made of its q and its k, so as a receiver it is these two; a plain MLP's input is its pre."""
    nodes = []
    for node in receivers:
        hooks = {"pattern": ["q", "k"], "mlp_in": ["pre"]}.get(node.hook, [node.hook])
        nodes += [node.model_copy(update={"hook": hook}) for hook in hooks]
    return nodes


# ---- the experiments --------------------------------------------------------------------------------------------


@torch.no_grad()
def patch(
    model: TransformerBridge,
    orig_tokens: Tensor,
    new_tokens: Tensor,
    senders: Sequence[Node],
    receivers: Sequence[Node],
    positions: Positions | None = None,
    direct_includes_mlps: bool = False,
    update: Literal["add", "overwrite"] | None = None,
    source: Literal["new", "zero", "mean"] = "new",
    means: Values | None = None,
    roles: Mapping[str, Sequence[int]] | None = None,
) -> Run:
    """Path patching: the run on orig in which only the edges from senders to receivers come from the source.

    Args:
        positions: As in a spec; a node's own positions restrict that node further.
        means: From ``dataset_means``, with source ``mean``.
        roles: Role name to one position per example.
    """
    update = update or ("overwrite" if direct_includes_mlps else "add")
    receivers = elementary(receivers)
    masks = masks_of([*senders, *receivers], positions, orig_tokens, roles or {})
    z_names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.cfg.n_layers)] if direct_includes_mlps else []
    names = [node.hook_name for node in senders] + [input_name(node) for node in receivers] + z_names
    orig_cache = activations(model, orig_tokens, names)
    values = source_values(model, new_tokens, senders, orig_cache, source, means)
    if direct_includes_mlps:
        changes = changes_through_mlps(model, orig_tokens, senders, receivers, masks, orig_cache, values)
    else:
        changes = changes_by_skip_connections(model, senders, receivers, masks, orig_cache, values)
    hooks: Hooks = []
    for node in in_forward_order(receivers):
        hooks += receiver_hooks(model, node, masks[id(node)], changes[id(node)], orig_cache, update)
    return run(model, orig_tokens, hooks)


@torch.no_grad()
def patch_activations(
    model: TransformerBridge,
    orig_tokens: Tensor,
    new_tokens: Tensor,
    nodes: Sequence[Node],
    positions: Positions | None = None,
    source: Literal["new", "zero", "mean"] = "new",
    means: Values | None = None,
    roles: Mapping[str, Sequence[int]] | None = None,
) -> Run:
    """Activation patching: the run on orig in which the nodes come from the source and all else follows."""
    masks = masks_of(nodes, positions, orig_tokens, roles or {})
    orig_cache = activations(model, orig_tokens, [node.hook_name for node in nodes]) if source != "new" else {}
    values = source_values(model, new_tokens, nodes, orig_cache, source, means)
    return run(model, orig_tokens, setting_hooks(nodes, masks, values))


def masks_of(
    nodes: Iterable[Node], positions: Positions | None, tokens: Tensor, roles: Mapping[str, Sequence[int]]
) -> dict[int, Tensor]:
    """Each node's positions, keyed by ``id(node)``: those of the patch, restricted to its own."""
    everywhere = position_mask(positions, tokens, roles)
    return {id(node): everywhere & position_mask(node.positions, tokens, roles) for node in nodes}
