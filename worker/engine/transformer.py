"""The transformer's equations, on rows of the residual stream: any leading axes, then ``d_model``.

The block stands here once, for every family. Clean runs, final runs, the chain through MLPs and attribution all call
it: they differ in the rows that they have, in what a query may attend to (``attention``), and in what they do at the
block's activations.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from worker.engine.model import Weights

At = Callable[[str, Tensor], Tensor]
"""Sees each activation of a block, under TransformerLens' short name, and gives the one to go on with."""


def unchanged(hook: str, value: Tensor) -> Tensor:
    """An ``At`` that only looks on."""
    return value


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries, keys and values to each head's ``z``."""


def block(
    weights: Weights,
    layer: int,
    resid: Float[Tensor, "*rows d_model"],
    attend: Attend,
    at: At = unchanged,
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
    attn_out = at("attn_out", heads_output(weights, layer, z))
    resid = narrow(resid)
    if weights.architecture.is_parallel:
        return resid + attn_out + mlp(weights, layer, resid, at)
    resid_mid = at("resid_mid", resid + attn_out)
    return resid_mid + mlp(weights, layer, resid_mid, at)


def mlp(
    weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"], at: At = unchanged
) -> Float[Tensor, "*patched_rows d_model"]:
    """``mlp_out`` of rows of the stream that the MLP reads; of more cells, if ``at`` makes more of them."""
    post = at("post", neurons(weights, layer, resid, at))
    return at("mlp_out", neurons_output(weights, layer, post))


def neurons(
    weights: Weights,
    layer: int,
    resid: Float[Tensor, "*rows d_model"],
    at: At = unchanged,
    units: list[int] | None = None,
) -> Float[Tensor, "*patched_rows neurons"]:
    """``post`` of all neurons, or of some: of gated MLPs ``act(pre) * pre_linear``."""
    normed = mlp_input(weights, layer, resid)
    post = activation(weights, at("pre", _branch(weights, "pre", layer, normed, units)))
    if weights.W_gate is None:
        return post
    return post * at("pre_linear", _branch(weights, "pre_linear", layer, normed, units))


def neuron_of_each_cell(
    weights: Weights, layer: int, resid: Float[Tensor, "batch cell row d_model"], units: list[int]
) -> Float[Tensor, "batch cell row"]:
    """``post`` of one neuron per cell."""
    normed = mlp_input(weights, layer, resid)

    def branch(hook: str) -> Float[Tensor, "batch cell row"]:
        weight, bias = branch_weights(weights, hook, layer)
        out: Tensor = torch.einsum("bcrm,mc->bcr", normed, weight[:, units])
        return out + bias[units][:, None]

    post = activation(weights, branch("pre"))
    return post if weights.W_gate is None else post * branch("pre_linear")


def embed(weights: Weights, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The first residual stream: token embeddings, and those of positions where they are learned."""
    embedded = weights.W_E[tokens]
    return embedded if weights.W_pos is None else embedded + position_embeddings(weights, tokens.shape[1])


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
        normed = attention_input(weights, layer, resid)
        if hook in ("query_k", "query_v"):
            return project_per_query_head(weights, hook.removeprefix("query_"), layer, units, normed)
        return project(weights, hook, layer, units or list(range(weights.architecture.n_heads_of(hook))), normed)
    if hook in ("pre", "pre_linear"):
        return _branch(weights, hook, layer, mlp_input(weights, layer, resid), units)
    return resid


def norm(
    weights: Weights,
    x: Float[Tensor, "*rows width"],
    scale: Float[Tensor, " width"],
    bias: Float[Tensor, " width"] | None = None,
) -> Float[Tensor, "*rows width"]:
    """The family's norm of each row; where it was folded into the weights, ``scale`` is one and ``bias`` zero."""
    eps = weights.architecture.eps
    if weights.architecture.norm == "layer_norm":
        return functional.layer_norm(x, x.shape[-1:], scale, bias, eps)
    return functional.rms_norm(x, x.shape[-1:], scale, eps)


def attention_input(
    weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """What a layer's query, key and value weights read."""
    return norm(weights, resid, weights.ln1_w[layer], weights.ln1_b[layer])


def mlp_input(weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """What a layer's neurons read."""
    return norm(weights, resid, weights.ln2_w[layer], weights.ln2_b[layer])


def queries_keys_values(
    weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"]
) -> tuple[
    Float[Tensor, "*rows n_heads d_head"],
    Float[Tensor, "*rows n_kv_heads d_head"],
    Float[Tensor, "*rows n_kv_heads d_head"],
]:
    """Queries, keys and values of all heads, from one product."""
    normed = attention_input(weights, layer, resid).flatten(end_dim=-2)
    fused = torch.addmm(weights.b_QKV[layer], normed, weights.W_QKV[layer]).view(*resid.shape[:-1], -1)
    widths = [weights.architecture.n_heads_of(hook) * weights.architecture.d_head for hook in ("q", "k", "v")]
    q, k, v = (part.unflatten(-1, (-1, weights.architecture.d_head)) for part in fused.split(widths, dim=-1))
    return q, k, v


def project(
    weights: Weights, hook: str, layer: int, heads: list[int], normed: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows heads d_head"]:
    """Queries (``q``), keys (``k``) or values (``v``) of some heads, from normalised rows."""
    weight = {"q": weights.W_Q, "k": weights.W_K, "v": weights.W_V}[hook][layer, heads]
    bias = {"q": weights.b_Q, "k": weights.b_K, "v": weights.b_V}[hook][layer, heads]
    flat = weight.permute(1, 0, 2).flatten(1)  # (d_model, heads * d_head)
    rows = torch.addmm(bias.flatten(), normed.flatten(end_dim=-2), flat)
    return rows.view(*normed.shape[:-1], len(heads), weights.architecture.d_head)


def project_per_query_head(
    weights: Weights, hook: str, layer: int, heads: list[int] | None, normed: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows heads d_head"]:
    """What query heads read of their group's keys or values; all of them by default."""
    heads = list(range(weights.architecture.n_heads)) if heads is None else heads
    groups = [head // weights.architecture.group_size for head in heads]
    distinct = sorted(set(groups))
    projected = project(weights, hook, layer, distinct, normed)
    return projected if groups == distinct else projected[..., [distinct.index(group) for group in groups], :]


def heads_output(
    weights: Weights, layer: int, z: Float[Tensor, "*rows head_index d_head"]
) -> Float[Tensor, "*rows d_model"]:
    """``attn_out``: what all heads and the output bias write, normalised where the family does so."""
    return after_attention(weights, layer, heads_sum(weights, layer, z))


def heads_sum(
    weights: Weights, layer: int, z: Float[Tensor, "*rows head_index d_head"]
) -> Float[Tensor, "*rows d_model"]:
    """``attn_out`` before the norm after it."""
    flat = z.reshape(-1, weights.architecture.n_heads * weights.architecture.d_head)
    out = torch.addmm(weights.b_O[layer], flat, weights.W_O[layer].flatten(end_dim=1))
    return out.view(*z.shape[:-2], weights.architecture.d_model)


def after_attention(
    weights: Weights, layer: int, out: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """What enters the stream of what heads write together."""
    return out if weights.ln1_post_w is None else norm(weights, out, weights.ln1_post_w[layer])


def _branch(
    weights: Weights,
    hook: str,
    layer: int,
    normed: Float[Tensor, "*rows d_model"],
    units: list[int] | None,
) -> Float[Tensor, "*rows neurons"]:
    """``pre`` (in a gated MLP the gate's) or ``pre_linear`` of all neurons, or of some, from normalised rows."""
    weight, bias = branch_weights(weights, hook, layer)
    if units is not None:
        return normed @ weight[:, units] + bias[units]
    out = torch.addmm(bias, normed.reshape(-1, weights.architecture.d_model), weight)
    return out.view(*normed.shape[:-1], weights.architecture.d_mlp)


def branch_weights(
    weights: Weights, hook: str, layer: int
) -> tuple[Float[Tensor, "d_model d_mlp"], Float[Tensor, " d_mlp"]]:
    """Weight and bias of ``pre`` (in a gated MLP the gate's) or ``pre_linear``."""
    if hook == "pre" and weights.W_gate is not None:
        assert weights.b_gate is not None
        return weights.W_gate[layer], weights.b_gate[layer]
    return weights.W_in[layer], weights.b_in[layer]


def activation(weights: Weights, pre: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """The family's function of a neuron."""
    match weights.architecture.activation:
        case "gelu_tanh":
            return functional.gelu(pre, approximate="tanh")
        case "gelu":
            return functional.gelu(pre)
        case "relu":
            return functional.relu(pre)
    return functional.silu(pre)


def neurons_output(weights: Weights, layer: int, post: Float[Tensor, "*rows d_mlp"]) -> Float[Tensor, "*rows d_model"]:
    """``mlp_out``: what all neurons and the output bias write, normalised where the family does so."""
    return after_mlp(weights, layer, neurons_sum(weights, layer, post))


def neurons_sum(weights: Weights, layer: int, post: Float[Tensor, "*rows d_mlp"]) -> Float[Tensor, "*rows d_model"]:
    """``mlp_out`` before the norm after it."""
    out = torch.addmm(weights.b_out[layer], post.reshape(-1, weights.architecture.d_mlp), weights.W_out[layer])
    return out.view(*post.shape[:-1], weights.architecture.d_model)


def after_mlp(weights: Weights, layer: int, out: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """What enters the stream of what neurons write together."""
    return out if weights.ln2_post_w is None else norm(weights, out, weights.ln2_post_w[layer])


def final_norm(weights: Weights, resid: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """What the unembedding reads."""
    return norm(weights, resid, weights.ln_final_w, weights.ln_final_b)


def unembed(weights: Weights, normed: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
    """Logits over the whole vocabulary."""
    logits = torch.addmm(weights.b_U, normed.reshape(-1, weights.architecture.d_model), weights.W_U)
    return capped(logits, weights.architecture.logit_cap).view(*normed.shape[:-1], -1)


def capped(x: Float[Tensor, "*shape"], cap: float | None) -> Float[Tensor, "*shape"]:
    """``cap * tanh(x / cap)``, where there is a cap."""
    return x if cap is None else cap * (x / cap).tanh()
