"""The transformer's equations, on rows of the residual stream: any leading axes, then ``d_model``.

The block stands here once, for every family. Clean runs, final runs, the chain through MLPs and attribution all call
it: they differ in the rows that they have, in what a query may attend to (``attend``), and in what they do at the
block's activations. Its linear maps are in ``model``.

Attention gets queries and keys as their hooks have them: ``positioned`` normalises and rotates them, where the family
does so. Under grouped heads keys and values may come per key-value head, or per query head once a patch has told these
apart.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from planning.architecture import Rotary
from worker.engine.model import Weights, affine, project, queries_keys_values, read_by_neurons, written
from worker.engine.rows import Rows

NormName = Literal["ln1", "ln2", "ln1_post", "ln2_post", "q_norm", "k_norm", "ln_final"]
"""Before attention, before the MLP, after each of them, of each head's queries and keys, and before the unembedding."""
NORM_AFTER: dict[str, NormName] = {"z": "ln1_post", "post": "ln2_post"}
"""The norm of what all heads, or all neurons, write."""
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}
"""The families' functions of a neuron."""
Positions = TypeVar("Positions", Tensor, NDArray[Any])
"""On a device, or on the host."""
At = Callable[[str, Tensor], Tensor]
"""Sees each activation of a block, under TransformerLens' short name, and gives the one to go on with."""
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries, keys and values to each head's ``z``."""


def block(
    weights: Weights,
    layer: int,
    resid: Float[Tensor, "*rows d_model"],
    attend: Attend,
    at: At = lambda hook, value: value,
    narrow: Callable[[Tensor], Tensor] | None = None,
    narrows_queries: bool = True,
) -> Float[Tensor, "*narrow_rows d_model"]:
    """One layer: ``resid_pre`` to ``resid_post``.

    Args:
        attend: From queries, keys and values to ``z``: over whole prompts, or from changed rows to cached keys too.
        at: Sees every activation in turn; what it gives is gone on with.
        narrow: The rows that are needed after the attention, of the stream or of what is as wide.
        narrows_queries: Whether queries are computed at these rows alone; else ``attend`` narrows them.
    """
    normed = norm(weights, "ln1", layer, resid)
    querying = narrow(normed) if narrow is not None and narrows_queries else None
    q, k, v = queries_keys_values(weights, layer, normed, querying)
    q, k, v = at("q", q), at("query_k", at("k", k)), at("query_v", at("v", v))
    z = at("z", attend(q, k, v))
    attn_out = at("attn_out", output(weights, "z", layer, z))
    resid = resid if narrow is None else narrow(resid)
    if weights.architecture.is_parallel:
        return resid + attn_out + mlp(weights, layer, resid, at)
    resid_mid = at("resid_mid", resid + attn_out)
    return resid_mid + mlp(weights, layer, resid_mid, at)


def attend_prompts(
    weights: Weights,
    layer: int,
    q: Float[Tensor, "*batch pos n_heads d_head"],
    k: Float[Tensor, "*batch pos any_heads d_head"],
    v: Float[Tensor, "*batch pos any_value_heads d_head"],
    at: At = lambda hook, value: value,
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
        pattern = _pattern(weights, layer, first, q, k)
        z: Tensor = torch.einsum("bhqk,bkhd->bqhd", pattern, per_query_head(v, q.shape[-2]))
        return z
    is_plain, pos = first == 0 and (window is None or window >= n_pos), torch.arange(n_pos, device=q.device)
    q, k, v = (per_query_head(part, q.shape[-2]).transpose(1, 2) for part in (q, k, v))
    z = functional.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=None if is_plain else seen_by(pos[first:, None], pos, window),
        is_causal=is_plain,
        scale=1 / weights.architecture.attention_divisor,
    )
    return z.transpose(1, 2)


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
    scores = capped(scores, weights.architecture.attention_cap)
    pos = torch.arange(k.shape[1], device=q.device)
    is_seen = seen_by(pos[first:, None], pos, weights.architecture.window_of[layer])
    return scores.masked_fill(~is_seen, -torch.inf).softmax(dim=-1)


def seen_by(query_pos: Positions, key_pos: Positions, window: int | None) -> Positions:
    """Whether a query sees a key: its own position and those before it, as many as the window holds."""
    seen = key_pos <= query_pos
    return seen if window is None else seen & (key_pos > query_pos - window)


def positioned(
    weights: Weights,
    hook: str,
    layer: int,
    x: Float[Tensor, "*rows heads d_head"],
    pos: Int[Tensor, "*rows_or_fewer"],
) -> Float[Tensor, "*rows heads d_head"]:
    """Queries (``q``) or keys (``k``) as scores read them: normalised, then rotated by their positions."""
    x = norm(weights, "q_norm" if hook == "q" else "k_norm", layer, x)
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


def query_scores(
    weights: Weights, q: Float[Tensor, "batch q_cell heads d_head"], k: Float[Tensor, "batch pos heads d_head"]
) -> Float[Tensor, "batch q_cell heads pos"]:
    """Scores of one query per example with keys that are the same in every cell; both positioned."""
    scores: Tensor = (q / weights.architecture.attention_divisor).transpose(1, 2) @ k.permute(0, 2, 3, 1)
    return scores.transpose(1, 2)


def pattern_of_row(
    weights: Weights, layer: int, query: Rows, scores: Float[Tensor, "batch cell heads pos"]
) -> Float[Tensor, "batch cell heads pos"]:
    """Attention probabilities of one query per example, within the layer's window."""
    key_pos = torch.arange(scores.shape[-1], device=scores.device)
    seen = seen_by(query.index, key_pos, weights.architecture.window_of[layer])
    scores = capped(scores, weights.architecture.attention_cap)
    return scores.masked_fill(~seen[:, None, None], -torch.inf).float().softmax(dim=-1)


def mlp(
    weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"], at: At = lambda hook, value: value
) -> Float[Tensor, "*patched_rows d_model"]:
    """``mlp_out`` of rows of the stream that the MLP reads; of more cells, if ``at`` makes more of them."""
    post = at("post", neurons(weights, layer, resid, at))
    return at("mlp_out", output(weights, "post", layer, post))


def neurons(
    weights: Weights,
    layer: int,
    resid: Float[Tensor, "*rows d_model"],
    at: At = lambda hook, value: value,
    units: list[int] | None = None,
) -> Float[Tensor, "*patched_rows neurons"]:
    """``post`` of all neurons, or of some: of gated MLPs ``act(pre) * pre_linear``."""
    normed, activation = norm(weights, "ln2", layer, resid), ACTIVATIONS[weights.architecture.activation]
    post = activation(at("pre", read_by_neurons(weights, "pre", layer, normed, units)))
    if weights.W_gate is None:
        return post
    return post * at("pre_linear", read_by_neurons(weights, "pre_linear", layer, normed, units))


def neuron_of_each_cell(
    weights: Weights, layer: int, resid: Float[Tensor, "batch cell row d_model"], units: slice | Int[Tensor, " cell"]
) -> Float[Tensor, "batch cell row"]:
    """``post`` of one neuron per cell."""
    normed, activation = norm(weights, "ln2", layer, resid), ACTIVATIONS[weights.architecture.activation]

    def branch(weight: Float[Tensor, "d_model d_mlp"], bias: Float[Tensor, " d_mlp"]) -> Tensor:
        out: Tensor = torch.einsum("bcrm,mc->bcr", normed, weight[:, units])
        return out + bias[units][:, None]

    linear = branch(weights.W_in[layer], weights.b_in[layer])
    if weights.W_gate is None or weights.b_gate is None:
        return activation(linear)
    return activation(branch(weights.W_gate[layer], weights.b_gate[layer])) * linear


def output(
    weights: Weights, hook: str, layer: int, value: Float[Tensor, "*rows_and_units"]
) -> Float[Tensor, "*rows d_model"]:
    """``attn_out`` (from every head's ``z``) or ``mlp_out`` (from ``post``), normalised where the family does so."""
    return norm(weights, NORM_AFTER[hook], layer, written(weights, hook, layer, value))


def norm(
    weights: Weights, name: NormName, layer: int | None, x: Float[Tensor, "*rows width"]
) -> Float[Tensor, "*rows width"]:
    """One of the family's norms, of each row; ``x`` itself where the family has no such norm.

    Where a norm was folded into the weights that read it, its gains are ones and its biases zeros.
    """
    gain, bias = getattr(weights, f"{name}_w"), getattr(weights, f"{name}_b", None)
    if gain is None:
        return x
    if layer is not None:
        gain, bias = gain[layer], None if bias is None else bias[layer]
    if weights.architecture.norm == "layer_norm":
        return functional.layer_norm(x, x.shape[-1:], gain, bias, weights.architecture.eps)
    return functional.rms_norm(x, x.shape[-1:], gain, weights.architecture.eps)


def capped(x: Float[Tensor, "*shape"], cap: float | None) -> Float[Tensor, "*shape"]:
    """``cap * tanh(x / cap)``, where there is a cap."""
    return x if cap is None else cap * (x / cap).tanh()


def read(
    weights: Weights,
    hook: str,
    layer: int | None,
    resid: Float[Tensor, "*rows d_model"],
    units: list[int] | None = None,
) -> Shaped[Tensor, "*rows_and_units"]:
    """An activation from the point of the stream that it reads: of some heads or neurons, or of all.

    A hook without weights of its own reads the stream itself.
    """
    if layer is None:
        return resid
    if hook in ("q", "k", "v", "query_k", "query_v"):
        heads = units or list(range(weights.architecture.n_heads_of(hook)))
        return project(weights, hook, layer, heads, norm(weights, "ln1", layer, resid))
    if hook in ("pre", "pre_linear"):
        return read_by_neurons(weights, hook, layer, norm(weights, "ln2", layer, resid), units)
    return resid


def unembed(weights: Weights, normed: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
    """Logits over the whole vocabulary."""
    return capped(affine(normed, weights.W_U, weights.b_U), weights.architecture.logit_cap)
