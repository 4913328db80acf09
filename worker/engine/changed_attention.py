"""Attention where only some rows changed: they attend to each other and to orig's cached keys and values."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from worker.engine.positions import Rows


@dataclass(frozen=True, eq=False)
class Sight:
    """Which keys each query row sees: cached ones of unchanged positions, and the changed rows."""

    queries: Rows
    keys: Rows
    n_cached: int
    """Cached keys lie in positions 0 to ``n_cached - 1``; zero where every visible position is a changed row."""
    cached: Bool[Tensor, "batch query_row key_pos"]
    changed: Bool[Tensor, "batch query_row key_row"]
    whole_prompts: bool
    """Whether the changed rows are all positions, so that plain causal attention does."""


def sight(queries: Rows, keys: Rows) -> Sight:
    """Plan the masks on the host."""
    device = queries.index.device
    n_pos = keys.mask.shape[1]
    position = np.arange(n_pos)
    before = position[None, None, :] <= queries.places[:, :, None]
    cached = before & ~keys.mask[:, None, :] & queries.real[:, :, None]
    n_cached = int(position[cached.any(axis=(0, 1))].max(initial=-1)) + 1
    changed = (keys.places[:, None, :] <= queries.places[:, :, None]) & keys.real[:, None, :]
    blind = ~(cached.any(axis=2) | changed.any(axis=2))
    changed[..., 0] |= blind  # an invalid row sees something, so that no softmax is empty
    starts_at_0 = keys.window is not None and keys.window.start == 0 and n_cached == 0
    whole = starts_at_0 and queries.places.shape == keys.places.shape and bool((queries.places == keys.places).all())
    return Sight(
        queries,
        keys,
        n_cached,
        torch.from_numpy(cached[..., :n_cached]).to(device),
        torch.from_numpy(changed).to(device),
        whole,
    )


def attend_changed(
    seen: Sight,
    q: Float[Tensor, "batch cell query_row heads d_head"],
    k: Float[Tensor, "batch cell key_row heads d_head"],
    v: Float[Tensor, "batch cell key_row heads d_head"],
    cached_k: Float[Tensor, "batch pos heads d_head"],
    cached_v: Float[Tensor, "batch pos heads d_head"],
    pattern: Float[Tensor, "batch heads query_row pos"] | None = None,
    pattern_mask: Bool[Tensor, "batch heads query_row"] | None = None,
) -> Float[Tensor, "batch cell query_row heads d_head"]:
    """Each head's ``z`` at the query rows.

    Args:
        pattern: Attention probabilities that take the computed ones' place where ``pattern_mask`` is True.
    """
    if seen.whole_prompts and pattern is None:
        return _attend_prompts(q, k, v)
    by_head = [part.permute(0, 3, 1, 2, 4) for part in (q, k, v)]  # (batch, heads, cell, row, d_head)
    q_heads, k_heads, v_heads = by_head[0] / q.shape[-1] ** 0.5, by_head[1], by_head[2]
    cached_keys = cached_k[:, : seen.n_cached].permute(0, 2, 3, 1)  # (batch, heads, d_head, key_pos)
    cached_values = cached_v[:, : seen.n_cached].transpose(1, 2)
    cached_scores = (q_heads.flatten(2, 3) @ cached_keys).view(*q_heads.shape[:4], -1)
    changed_scores = q_heads @ k_heads.transpose(-1, -2)
    scores = torch.cat(
        [
            cached_scores.masked_fill(~seen.cached[:, None, None], -torch.inf),
            changed_scores.masked_fill(~seen.changed[:, None, None], -torch.inf),
        ],
        dim=-1,
    )
    probabilities = scores.float().softmax(dim=-1).to(q.dtype)
    if pattern is not None:
        assert pattern_mask is not None
        forced = split_pattern(seen, pattern)[:, :, None]
        probabilities = torch.where(pattern_mask[:, :, None, :, None], forced, probabilities)
    z: Tensor = probabilities[..., seen.n_cached :] @ v_heads
    z = z + (probabilities[..., : seen.n_cached].flatten(2, 3) @ cached_values).view(z.shape)
    return z.permute(0, 2, 3, 1, 4)


def _attend_prompts(
    q: Float[Tensor, "batch cell row heads d_head"],
    k: Float[Tensor, "batch cell row heads d_head"],
    v: Float[Tensor, "batch cell row heads d_head"],
) -> Float[Tensor, "batch cell row heads d_head"]:
    flat = [part.flatten(0, 1).transpose(1, 2) for part in (q, k, v)]
    z: Tensor = functional.scaled_dot_product_attention(flat[0], flat[1], flat[2], is_causal=True)
    return z.transpose(1, 2).reshape(q.shape)


def split_pattern(
    seen: Sight, pattern: Float[Tensor, "batch heads query_row pos"]
) -> Float[Tensor, "batch heads query_row split_key"]:
    """A pattern over positions as one over cached positions, then changed rows."""
    cached = pattern[..., : seen.n_cached] * seen.cached[:, None]
    index = seen.keys.index[:, None, None, :].expand(*pattern.shape[:3], -1)
    changed = pattern.gather(-1, index) * seen.changed[:, None]
    return torch.cat([cached, changed], dim=-1)
