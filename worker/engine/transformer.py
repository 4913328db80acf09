"""The transformer's equations, on rows of the residual stream: any leading axes, then ``d_model``.

The block stands here once, for every family. Clean runs, final runs, the chain through MLPs and attribution all call
it: they differ in the rows that they have, in what a query may attend to (``attention``), and in what they do at the
block's activations.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from worker.engine.model import Weights
from worker.engine.rows import chosen

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
    narrow: Callable[[Tensor], Tensor] = lambda resid: resid,
) -> Float[Tensor, "*narrow_rows d_model"]:
    """One layer: ``resid_pre`` to ``resid_post``.

    Args:
        attend: What each query attends to. It may give fewer rows than it gets, if ``narrow`` leaves the same ones.
        narrow: The stream at the rows that are needed after the attention.
    """
    q, k, v = queries_keys_values(weights, layer, resid)
    q, k, v = at("q", q), at("query_k", at("k", k)), at("query_v", at("v", v))
    z = at("z", attend(q, k, v))
    attn_out = at("attn_out", output(weights, "z", layer, z))
    resid = narrow(resid)
    if weights.architecture.is_parallel:
        return resid + attn_out + mlp(weights, layer, resid, at)
    resid_mid = at("resid_mid", resid + attn_out)
    return resid_mid + mlp(weights, layer, resid_mid, at)


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


def embed(weights: Weights, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The first residual stream: token embeddings, and those of positions where they are learned."""
    embedded = weights.W_E[tokens]
    return embedded if weights.W_pos is None else embedded + weights.W_pos[: tokens.shape[1]]


def position_embeddings(weights: Weights, n_pos: int) -> Float[Tensor, "pos d_model"]:
    """Learned ones; zero where positions rotate queries and keys instead."""
    if weights.W_pos is None:
        return weights.W_E.new_zeros(n_pos, weights.architecture.d_model)
    return weights.W_pos[:n_pos]


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


def affine(
    x: Float[Tensor, "*rows read"], weight: Float[Tensor, "read written"], bias: Float[Tensor, " written"]
) -> Float[Tensor, "*rows written"]:
    """``x @ weight + bias``, as one product of all rows."""
    return torch.addmm(bias, x.flatten(end_dim=-2), weight).view(*x.shape[:-1], len(bias))


def queries_keys_values(
    weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"]
) -> tuple[
    Float[Tensor, "*rows n_heads d_head"],
    Float[Tensor, "*rows n_kv_heads d_head"],
    Float[Tensor, "*rows n_kv_heads d_head"],
]:
    """Queries, keys and values of all heads, from one product."""
    weight, bias = weights.QKV
    heads = affine(norm(weights, "ln1", layer, resid), weight[layer], bias[layer])
    heads = heads.unflatten(-1, (-1, weights.architecture.d_head))
    n_heads, n_kv_heads = weights.architecture.n_heads, weights.architecture.n_kv_heads
    q, k, v = heads.split([n_heads, n_kv_heads, n_kv_heads], dim=-2)
    return q, k, v


def project(
    weights: Weights, hook: str, layer: int, heads: list[int], normed: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows heads d_head"]:
    """Queries (``q``), keys (``k``) or values (``v``) of some heads, from normalised rows.

    ``query_k`` and ``query_v`` are what query heads read of their group's keys and values.
    """
    if hook in ("query_k", "query_v"):
        groups = [head // weights.architecture.group_size for head in heads]
        distinct = sorted(set(groups))
        projected = project(weights, hook.removeprefix("query_"), layer, distinct, normed)
        return projected[..., chosen([distinct.index(group) for group in groups], normed.device), :]
    own = chosen(heads, normed.device)
    weight = {"q": weights.W_Q, "k": weights.W_K, "v": weights.W_V}[hook][layer][own]
    bias = {"q": weights.b_Q, "k": weights.b_K, "v": weights.b_V}[hook][layer][own]
    flat = weight.permute(1, 0, 2).flatten(1)  # (d_model, heads * d_head)
    rows = affine(normed, flat, bias.flatten())
    return rows.view(*normed.shape[:-1], len(heads), weights.architecture.d_head)


def read_by_neurons(
    weights: Weights,
    hook: str,
    layer: int,
    normed: Float[Tensor, "*rows d_model"],
    units: list[int] | None,
) -> Float[Tensor, "*rows neurons"]:
    """``pre`` (in a gated MLP the gate's) or ``pre_linear`` of all neurons, or of some, from normalised rows."""
    weight, bias = weights.W_in[layer], weights.b_in[layer]
    if hook == "pre" and weights.W_gate is not None and weights.b_gate is not None:
        weight, bias = weights.W_gate[layer], weights.b_gate[layer]
    if units is None:
        return affine(normed, weight, bias)
    own = chosen(units, normed.device)
    return normed @ weight[:, own] + bias[own]


def written(
    weights: Weights, hook: str, layer: int, value: Float[Tensor, "*rows_and_units"]
) -> Float[Tensor, "*rows d_model"]:
    """What all heads (from their ``z``) or all neurons (from ``post``) write with the bias, before a norm after it."""
    if hook == "z":
        return affine(value.flatten(-2), weights.W_O[layer].flatten(end_dim=1), weights.b_O[layer])
    return affine(value, weights.W_out[layer], weights.b_out[layer])


def output(
    weights: Weights, hook: str, layer: int, value: Float[Tensor, "*rows_and_units"]
) -> Float[Tensor, "*rows d_model"]:
    """``attn_out`` (from every head's ``z``) or ``mlp_out`` (from ``post``), normalised where the family does so."""
    return norm(weights, NORM_AFTER[hook], layer, written(weights, hook, layer, value))


def unembed(weights: Weights, normed: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
    """Logits over the whole vocabulary."""
    return capped(affine(normed, weights.W_U, weights.b_U), weights.architecture.logit_cap)


def capped(x: Float[Tensor, "*shape"], cap: float | None) -> Float[Tensor, "*shape"]:
    """``cap * tanh(x / cap)``, where there is a cap."""
    return x if cap is None else cap * (x / cap).tanh()
