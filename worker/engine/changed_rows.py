"""Attention of changed rows in the final run: to one another, and to orig's cached keys and values everywhere else.

What a query sees is planned on the host, as numpy arrays, so that no shard waits for a device.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worker.engine import transformer
from worker.engine.model import Weights
from worker.engine.rows import Rows, on_device


@dataclass(frozen=True, eq=False)
class Sight:
    """Which keys each query row sees: orig's cached ones, and in their place those of the computed rows."""

    queries: Rows
    keys: Rows
    n_cached: int
    """Cached keys lie in positions 0 to ``n_cached - 1``; zero where every visible position is a changed row."""
    cached: Bool[Tensor, "batch query_row key_pos"]
    computed: Bool[Tensor, "batch query_row key_row"]
    whole_prompts: bool
    """Whether the changed rows are all positions, so that plain causal attention does."""


def sight(queries: Rows, keys: Rows, window: int | None = None) -> Sight:
    """Which keys each query sees.

    Args:
        window: Keys that a query sees, itself included; None: all before it.
    """
    device = queries.index.device
    n_pos = keys.mask.shape[1]
    position = np.arange(n_pos)
    before = transformer.seen_by(queries.positions[:, :, None], position[None, None, :], window)
    cached = before & ~keys.mask[:, None, :] & queries.real[:, :, None]
    n_cached = int(position[cached.any(axis=(0, 1))].max(initial=-1)) + 1
    changed = (
        transformer.seen_by(queries.positions[:, :, None], keys.positions[:, None, :], window) & keys.real[:, None, :]
    )
    blind = ~(cached.any(axis=2) | changed.any(axis=2))
    changed[..., 0] |= blind  # an invalid row sees something, so that no softmax is empty
    starts_at_0 = keys.window is not None and keys.window.start == 0 and n_cached == 0
    whole = (
        starts_at_0
        and queries.positions.shape == keys.positions.shape
        and bool((queries.positions == keys.positions).all())
    )
    return Sight(
        queries,
        keys,
        n_cached,
        on_device(cached[..., :n_cached], device),
        on_device(changed, device),
        whole,
    )


def split_pattern(
    seen: Sight, pattern: Float[Tensor, "batch query_row heads pos"]
) -> Float[Tensor, "batch query_row heads split_key"]:
    """A pattern over positions as one over cached positions, then changed rows."""
    cached = pattern[..., : seen.n_cached] * seen.cached[:, :, None]
    index = seen.keys.index[:, None, None, :].expand(*pattern.shape[:3], -1)
    changed = pattern.gather(-1, index) * seen.computed[:, :, None]
    return torch.cat([cached, changed], dim=-1)


def attend_rows(
    weights: Weights,
    layer: int,
    seen: Sight,
    q: Float[Tensor, "batch cell query_row heads d_head"],
    k: Float[Tensor, "batch cell key_row any_heads d_head"],
    v: Float[Tensor, "batch cell key_row any_value_heads d_head"],
    cached_k: Float[Tensor, "batch pos any_cached_heads d_head"],
    cached_v: Float[Tensor, "batch pos any_cached_value_heads d_head"],
    change_pattern: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "batch cell query_row heads d_head"]:
    """Each head's ``z`` at some rows, which attend to changed rows and to orig's cached keys and values elsewhere.

    Args:
        cached_k: Normalised and rotated.
        change_pattern: Gets attention probabilities (batch, heads, cell, query_row, cached key then changed key) and
            gives the ones to go on with.
    """
    if seen.whole_prompts and change_pattern is None:
        return transformer.attend_prompts(weights, layer, q, k, v)
    q = transformer.positioned(weights, "q", layer, q, seen.queries.index[:, None])
    q = q / weights.architecture.attention_divisor
    k = transformer.positioned(weights, "k", layer, k, seen.keys.index[:, None])
    n_rows, n_heads = q.shape[2:4]
    are_grouped = change_pattern is None and len({part.shape[-2] for part in (k, v, cached_k, cached_v)}) == 1
    n_kv = k.shape[-2] if are_grouped else n_heads
    k, v, cached_k, cached_v = (transformer.per_query_head(part, n_kv) for part in (k, v, cached_k, cached_v))
    # the query heads of a group are more rows of its one key-value head: (batch, heads, cell, group * row, d_head)
    q = q.unflatten(3, (n_kv, -1)).permute(0, 3, 1, 4, 2, 5).flatten(3, 4)
    k, v = (part.permute(0, 3, 1, 2, 4) for part in (k, v))
    probabilities = _probabilities_of_rows(weights, seen, q, k, cached_k[:, : seen.n_cached])
    if change_pattern is not None:
        probabilities = change_pattern(probabilities)
    z: Tensor = probabilities[..., seen.n_cached :] @ v
    cached_v = cached_v[:, : seen.n_cached].transpose(1, 2)
    z = z + (probabilities[..., : seen.n_cached].flatten(2, 3) @ cached_v).view(z.shape)
    by_query_head: Tensor = z.unflatten(3, (-1, n_rows))
    return by_query_head.permute(0, 2, 4, 1, 3, 5).flatten(3, 4)


def _probabilities_of_rows(
    weights: Weights,
    seen: Sight,
    q: Float[Tensor, "batch any_heads cell any_rows d_head"],
    k: Float[Tensor, "batch any_heads cell key_row d_head"],
    cached_k: Float[Tensor, "batch cached_pos any_heads d_head"],
) -> Float[Tensor, "batch any_heads cell any_rows key"]:
    """Of scaled queries over orig's cached keys, then over the changed ones."""
    cached: Tensor = (q.flatten(2, 3) @ cached_k.permute(0, 2, 3, 1)).view(*q.shape[:4], -1)
    scores, cap = [], weights.architecture.attention_cap
    for own, mask in ((cached, seen.cached), (q @ k.transpose(-1, -2), seen.computed)):
        is_seen = mask.repeat(1, q.shape[3] // mask.shape[1], 1)[:, None, None]
        scores.append(transformer.capped(own, cap).masked_fill(~is_seen, -torch.inf))
    return torch.cat(scores, dim=-1).float().softmax(dim=-1).to(q.dtype)
