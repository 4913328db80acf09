"""Attention, from each head's queries, keys and values to its ``z``: over whole prompts, on some rows, or of one query.

Queries and keys come as their hooks have them: here they are normalised and rotated, where the family does so. Under
grouped heads keys and values may come per key-value head, or per query head once a patch has told these apart.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from planning.architecture import Rotary
from worker.engine import transformer
from worker.engine.model import Weights
from worker.engine.rows import Rows, Sight, chosen


def positioned(
    weights: Weights,
    hook: str,
    layer: int,
    x: Float[Tensor, "*rows heads d_head"],
    pos: Int[Tensor, "*rows_or_fewer"],
) -> Float[Tensor, "*rows heads d_head"]:
    """Queries (``q``) or keys (``k``) as scores read them: normalised, then rotated by their positions."""
    x = transformer.norm(weights, "q_norm" if hook == "q" else "k_norm", layer, x)
    rotary = weights.architecture.rotary_of[layer]
    if rotary is None:
        return x
    angles = pos[..., None].float() * weights.frequencies(rotary)
    return rotated(x, rotary, angles[..., None, :])


def rotated(
    x: Float[Tensor, "*rows d_head"], rotary: Rotary, angles: Float[Tensor, "*rows_or_fewer pairs"]
) -> Float[Tensor, "*rows d_head"]:
    """Each pair of dimensions turned by its angle; dimensions beyond the pairs stay."""
    cos, sin = (rotary.factor * angles.cos()).to(x.dtype), (rotary.factor * angles.sin()).to(x.dtype)
    turned, rest = x[..., : rotary.n_dims], x[..., rotary.n_dims :]
    if rotary.is_interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
        pairs = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(-2)
    else:
        first, second = turned.chunk(2, dim=-1)
        pairs = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([pairs, rest], dim=-1) if rest.shape[-1] else pairs


def per_query_head(x: Float[Tensor, "*rows any_heads d_head"], n_heads: int) -> Float[Tensor, "*rows heads d_head"]:
    """Keys or values of key-value heads, once for each query head of their groups."""
    return x if x.shape[-2] == n_heads else x.repeat_interleave(n_heads // x.shape[-2], dim=-2)


def attention_pattern(
    weights: Weights,
    layer: int,
    q: Float[Tensor, "batch pos n_heads d_head"],
    k: Float[Tensor, "batch pos any_heads d_head"],
) -> Float[Tensor, "batch n_heads pos pos"]:
    """Attention probabilities over whole prompts; every query sees itself and what is before it."""
    pos = torch.arange(q.shape[1], device=q.device)
    return _pattern(weights, layer, 0, positioned(weights, "q", layer, q, pos), positioned(weights, "k", layer, k, pos))


def _pattern(
    weights: Weights,
    layer: int,
    first: int,
    q: Float[Tensor, "batch query_pos n_heads d_head"],
    k: Float[Tensor, "batch pos any_heads d_head"],
) -> Float[Tensor, "batch n_heads query_pos pos"]:
    scores: Tensor = torch.einsum(
        "bqhd,bkhd->bhqk", q / weights.architecture.attention_divisor, per_query_head(k, q.shape[-2])
    )
    scores = transformer.capped(scores, weights.architecture.attention_cap)
    query_pos = torch.arange(first, k.shape[1], device=q.device)
    is_seen = seen_by(query_pos, k.shape[1], weights.architecture.window_of[layer])
    return scores.masked_fill(~is_seen, -torch.inf).softmax(dim=-1)


def seen_by(query_pos: Int[Tensor, "*rows"], n_pos: int, window: int | None) -> Bool[Tensor, "*rows key_pos"]:
    """The keys that queries see: their own position and those before it, as many as the window holds."""
    key_pos, query_pos = torch.arange(n_pos, device=query_pos.device), query_pos[..., None]
    seen = key_pos <= query_pos
    return seen if window is None else seen & (key_pos > query_pos - window)


def attend(
    weights: Weights,
    layer: int,
    q: Float[Tensor, "*batch pos n_heads d_head"],
    k: Float[Tensor, "*batch pos any_heads d_head"],
    v: Float[Tensor, "*batch pos any_value_heads d_head"],
    at: transformer.At = lambda hook, value: value,
) -> Float[Tensor, "*batch pos n_heads d_head"]:
    """Each head's ``z`` over whole prompts; right-padding needs no mask, because attention is causal."""
    shape, pos = q.shape, torch.arange(q.shape[-3], device=q.device)
    q, k = positioned(weights, "q", layer, q, pos), at("rot_k", positioned(weights, "k", layer, k, pos))
    q, k, v = (part.flatten(end_dim=-4) for part in (q, k, v))
    return attend_from(weights, layer, 0, q, k, v).reshape(shape)


def attend_from(
    weights: Weights,
    layer: int,
    first: int,
    q: Float[Tensor, "batch query_pos n_heads d_head"],
    k: Float[Tensor, "batch pos any_heads d_head"],
    v: Float[Tensor, "batch pos any_value_heads d_head"],
) -> Float[Tensor, "batch query_pos n_heads d_head"]:
    """Each head's ``z`` at the positions from ``first`` on; queries and keys are positioned."""
    n_pos, window = k.shape[1], weights.architecture.window_of[layer]
    if weights.architecture.attention_cap is not None:
        capped: Tensor = torch.einsum(
            "bhqk,bkhd->bqhd", _pattern(weights, layer, first, q, k), per_query_head(v, q.shape[-2])
        )
        return capped
    is_plain = first == 0 and (window is None or window >= n_pos)
    q, k, v = (per_query_head(part, q.shape[-2]).transpose(1, 2) for part in (q, k, v))
    z = functional.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=None if is_plain else seen_by(torch.arange(first, n_pos, device=q.device), n_pos, window),
        is_causal=is_plain,
        scale=1 / weights.architecture.attention_divisor,
    )
    return z.transpose(1, 2)


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
        return attend(weights, layer, q, k, v)
    q = positioned(weights, "q", layer, q, seen.queries.index[:, None]) / weights.architecture.attention_divisor
    k = positioned(weights, "k", layer, k, seen.keys.index[:, None])
    n_rows, n_heads = q.shape[2:4]
    are_grouped = change_pattern is None and len({part.shape[-2] for part in (k, v, cached_k, cached_v)}) == 1
    n_kv = k.shape[-2] if are_grouped else n_heads
    k, v, cached_k, cached_v = (per_query_head(part, n_kv) for part in (k, v, cached_k, cached_v))
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


def query_scores(
    weights: Weights, q: Float[Tensor, "batch q_cell heads d_head"], k: Float[Tensor, "batch pos heads d_head"]
) -> Float[Tensor, "batch q_cell heads pos"]:
    """Scores of one query per example with keys that are the same in every cell; both positioned."""
    scores: Tensor = (q / weights.architecture.attention_divisor).transpose(1, 2) @ k.permute(0, 2, 3, 1)
    return scores.transpose(1, 2)


def query_scores_of_rows(
    weights: Weights,
    layer: int,
    heads: list[int],
    q: Float[Tensor, "batch q_cell heads d_head"],
    resid: Float[Tensor, "batch cell row d_model"],
    pos: Int[Tensor, "batch row"],
) -> Float[Tensor, "batch any_cell row heads"]:
    """Scores of one positioned query per example with the keys of rows that differ from cell to cell.

    Shortcut: where keys are neither normalised nor rotated, the key is read through the query, ``q . (x W_K + b_K) =
    x . (W_K q) + q . b_K``, so that a key costs one dot product of length ``d_model`` per row and head in place of a
    product with ``W_K``.
    """
    normed, q = transformer.norm(weights, "ln1", layer, resid), q / weights.architecture.attention_divisor
    if weights.architecture.has_positioned_keys:
        k = transformer.project(weights, "query_k", layer, heads, normed)
        k = positioned(weights, "k", layer, k, pos[:, None])
        of_keys: Tensor = (k.transpose(2, 3) @ q[..., None])[..., 0]
        return of_keys.transpose(2, 3)
    groups = chosen([head // weights.architecture.group_size for head in heads], weights.device)
    through_query = torch.einsum("hmd,bchd->bchm", weights.W_K[layer][groups], q)
    if q.shape[1] == 1:  # one query for all cells: one product per example
        flat: Tensor = normed.flatten(1, 2) @ through_query[:, 0].transpose(1, 2)
        scores = flat.view(*normed.shape[:3], -1)
    else:
        scores = normed @ through_query.transpose(-1, -2)
    return scores + (q * weights.b_K[layer][groups]).sum(dim=-1)[..., None, :]


def put_scores(
    scores: Float[Tensor, "batch q_cell heads pos"], changed: Float[Tensor, "batch cell row heads"], rows: Rows
) -> Float[Tensor, "batch any_cell heads pos"]:
    """Scores with those of some rows in their places."""
    shape = (scores.shape[0], max(scores.shape[1], changed.shape[1]), *scores.shape[2:])
    index = torch.where(rows.valid, rows.index, shape[-1])  # what is not valid goes into a spare column
    index = index[:, None, None].expand(*shape[:3], -1)
    spare = torch.cat([scores, scores[..., :1]], dim=-1).expand(*shape[:3], -1)
    value = changed.transpose(2, 3).expand(*shape[:3], -1)
    return spare.scatter(-1, index, value)[..., :-1]


def pattern_of_row(
    weights: Weights, layer: int, query: Rows, scores: Float[Tensor, "batch cell heads pos"]
) -> Float[Tensor, "batch cell heads pos"]:
    """Attention probabilities of one query per example, within the layer's window."""
    seen = seen_by(query.index[:, 0], scores.shape[-1], weights.architecture.window_of[layer])
    scores = transformer.capped(scores, weights.architecture.attention_cap)
    return scores.masked_fill(~seen[:, None, None], -torch.inf).float().softmax(dim=-1)
