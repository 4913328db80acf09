"""One attention layer of the final run, with patched queries, keys, values, patterns and head outputs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from api_schemas.nodes import HEAD_HOOKS
from worker.engine import forward
from worker.engine.changed_attention import attend_changed
from worker.engine.patched_state import (
    Replacement,
    Sights,
    State,
    live_or_orig,
    moved_state,
    replace_written,
    set_value,
)
from worker.engine.positions import RowMap, Rows
from worker.engine.runs import Runs

ATTENTION_INPUTS = {"q": ("q",), "k": ("k",), "v": ("v",), "pattern": ("q", "k")}


@dataclass(frozen=True, eq=False)
class AttentionInputs:
    """Queries, keys and values (batch, cell, row, head, d_head) of some heads, and where they may differ from orig."""

    q: Tensor
    k: Tensor
    v: Tensor
    touched_q: Bool[Tensor, "batch cell row"]
    touched_kv: Bool[Tensor, "batch cell row"]


def attention_step(
    runs: Runs, state: State, layer: int, patches: list[Replacement], sights: Sights, to: RowMap | None
) -> State:
    """From ``resid_pre`` to ``resid_mid``.

    While the stream equals orig, only the patched heads are recomputed and the change of what they write is added.

    Args:
        to: In the last layer, leads to the rows that the metric reads; the rest of the layer is computed there alone.
    """
    before = moved_state(state, to, sights.queries)
    after = before
    at_heads = [patch for patch in patches if patch.node.hook in HEAD_HOOKS]
    every_head = list(range(runs.weights.n_heads))
    heads = patched_heads(every_head, at_heads) if state.resid is None else every_head
    if heads:
        inputs = attention_inputs(runs, state, layer, heads, at_heads)
        if to is not None and not to.same:
            at_heads = [patch.moved(to) for patch in at_heads]
        z, touched = heads_z(runs, state, layer, heads, inputs, at_heads, sights, to)
        after = _write_heads(runs, before, layer, heads, z, touched | before.touched)
    at_output = [patch if to is None else patch.moved(to) for patch in patches if patch.node.hook == "attn_out"]
    return replace_written(runs, live_or_orig(runs, before, "resid_pre", layer), after, "attn_out", layer, at_output)


def patched_heads(every_head: list[int], patches: list[Replacement]) -> list[int]:
    """Heads that some patch names; all of them where one names none in particular."""
    if any(patch.node.head is None for patch in patches):
        return every_head
    return sorted({patch.node.head for patch in patches if patch.node.head is not None})


def slots_of(patch: Replacement, heads: list[int]) -> list[int]:
    """Where a patch's heads lie among the computed ones."""
    return list(range(len(heads))) if patch.node.head is None else [heads.index(patch.node.head)]


def attention_inputs(
    runs: Runs, state: State, layer: int, heads: list[int], patches: list[Replacement]
) -> AttentionInputs:
    """Queries, keys and values at the computed rows: of the live stream, and of each receiver's own input."""
    weights = runs.weights
    live = live_or_orig(runs, state, "resid_pre", layer)
    if len(heads) == weights.n_heads:
        values = dict(zip("qkv", forward.queries_keys_values(weights, layer, live), strict=True))
    else:
        normed = forward.attention_input(weights, layer, live)
        values = {name: forward.project(weights, name, layer, heads, normed) for name in "qkv"}
    touched = dict.fromkeys("qkv", state.touched)
    for patch in patches:
        slots = slots_of(patch, heads)
        chosen = [heads[slot] for slot in slots]
        for name, value, differs in _patched_inputs(runs, state, layer, live, patch, chosen, values, slots):
            values[name] = value if slots == list(range(len(heads))) else put(values[name], slots, value)
            touched[name] = touched[name] | differs
    q, k, v = (values[name].expand(-1, state.n_cells, -1, -1, -1) for name in "qkv")
    return AttentionInputs(q, k, v, touched["q"], touched["k"] | touched["v"])


def _patched_inputs(
    runs: Runs,
    state: State,
    layer: int,
    live: Tensor,
    patch: Replacement,
    heads: list[int],
    values: dict[str, Tensor],
    slots: list[int],
) -> list[tuple[str, Tensor, Tensor]]:
    """New queries, keys or values of a patch's heads, and where they may differ from orig."""
    hook = patch.node.hook
    if patch.change is not None:
        orig = state.rows.take(runs.orig("resid_pre", layer))[:, None]
        normed = forward.attention_input(runs.weights, layer, patch.input(live, orig))
        names = ATTENTION_INPUTS[hook]
        here = patch.mask[:, None, :, None, None]  # elsewhere another receiver of the same head may have changed it
        return [
            (
                name,
                torch.where(
                    here, forward.project(runs.weights, name, layer, heads, normed), values[name][..., slots, :]
                ),
                patch.change.touched,
            )
            for name in names
        ]
    if hook in ("q", "k", "v"):
        return [(hook, *set_value(runs, patch, (hook, layer), state.rows, values[hook][:, :, :, slots], heads))]
    return []


def put(values: Tensor, slots: list[int], new: Tensor) -> Tensor:
    """A copy of per-head values with some heads replaced."""
    n_cells = max(values.shape[1], new.shape[1])
    copied = values.expand(-1, n_cells, *values.shape[2:]).clone(memory_format=torch.contiguous_format)
    copied[:, :, :, slots] = new
    return copied


def heads_z(
    runs: Runs,
    state: State,
    layer: int,
    heads: list[int],
    inputs: AttentionInputs,
    patches: list[Replacement],
    sights: Sights,
    to: RowMap | None,
) -> tuple[Tensor, Bool[Tensor, "batch cell row"]]:
    """The heads' ``z`` at the query rows, and where a change has reached it."""
    keys_change = state.resid is not None or any(patch.node.hook in ("k", "v") for patch in patches)
    keys_change |= any(patch.node.hook == "pattern" and patch.change is not None for patch in patches)
    q, k, v, touched_q, touched_kv = inputs.q, inputs.k, inputs.v, inputs.touched_q, inputs.touched_kv
    if to is not None and not to.same:
        q, touched_q = to.move(q), to.move(touched_q)
    if not keys_change:  # every key is a cached one; one changed row stands in, seen by nobody
        k, v, touched_kv = k[:, :, :1], v[:, :, :1], torch.zeros_like(touched_kv[:, :, :1])
    seen = sights.live if keys_change else sights.frozen
    cached_k, cached_v = runs.orig("k", layer), runs.orig("v", layer)
    if len(heads) < runs.weights.n_heads:
        cached_k, cached_v = cached_k[:, :, heads], cached_v[:, :, heads]
    forced = _forced_pattern(runs, layer, heads, patches, sights.queries)
    z = attend_changed(seen, q, k, v, cached_k, cached_v, forced.pattern, forced.mask)
    reached = (touched_kv[:, :, None] & seen.changed[:, None]).any(dim=-1)
    touched = touched_q | (reached & seen.queries.valid[:, None])
    touched = touched if forced.differs is None else touched | forced.differs
    for patch in patches:
        if patch.node.hook == "z":
            slots = slots_of(patch, heads)
            value, differs = set_value(
                runs, patch, ("z", layer), sights.queries, z[:, :, :, slots], [heads[slot] for slot in slots]
            )
            z, touched = put(z, slots, value), touched | differs
    return z, touched


@dataclass(frozen=True, eq=False)
class ForcedPattern:
    """Patterns set to their source value (batch, head, row, key_pos), where, and where that differs from orig."""

    pattern: Tensor | None = None
    mask: Tensor | None = None
    differs: Tensor | None = None


def _forced_pattern(
    runs: Runs, layer: int, heads: list[int], patches: list[Replacement], queries: Rows
) -> ForcedPattern:
    """Patterns are kept with their query position first, so that rows are their second axis like everything's."""
    forced = [patch for patch in patches if patch.node.hook == "pattern" and patch.change is None]
    if not forced:
        return ForcedPattern()
    source = queries.take(runs.source_value("pattern", layer))[:, :, heads]
    orig = queries.take(runs.orig("pattern", layer))[:, :, heads]
    mask = torch.zeros(source.shape[:3], dtype=torch.bool, device=source.device)
    for patch in forced:
        mask[:, :, slots_of(patch, heads)] |= patch.mask[:, :, None]
    differs = ((source != orig).any(dim=-1) & mask).any(dim=-1)[:, None]
    return ForcedPattern(source.transpose(1, 2), mask.transpose(1, 2), differs)


def _write_heads(
    runs: Runs, before: State, layer: int, heads: list[int], z: Tensor, touched: Bool[Tensor, "batch cell row"]
) -> State:
    """Add what the heads write to the stream, or the change of it to orig's."""
    weights = runs.weights
    if before.resid is not None:
        return State(before.resid + forward.heads_output(weights, layer, z), touched, before.rows)
    dz = z - before.rows.take(runs.orig("z", layer))[:, None, :, heads]
    written = dz.flatten(3) @ weights.W_O[layer, heads].flatten(end_dim=1)
    return State(before.rows.take(runs.orig("resid_mid", layer))[:, None] + written, touched, before.rows)
