"""The transformer's equations, on rows of the residual stream: any leading axes, then ``d_model``.

The block stands here once. Clean runs, final runs, the chain through MLPs and attribution all call it: they differ in
the rows that they have, in what a query may attend to, and in what they do at the block's activations.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from worker.engine.model import Weights
from worker.engine.rows import Sight

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
    z = at("z", attend(at("q", q), at("k", k), at("v", v)))
    attn_out = at("attn_out", heads_output(weights, layer, z))
    resid_mid = at("resid_mid", narrow(resid) + attn_out)
    return resid_mid + mlp(weights, layer, resid_mid, at)


def mlp(
    weights: Weights, layer: int, resid_mid: Float[Tensor, "*rows d_model"], at: At = unchanged
) -> Float[Tensor, "*patched_rows d_model"]:
    """``mlp_out`` of rows of the residual stream; of more cells, if ``at`` makes more of them."""
    post = activation(at("pre", mlp_pre(weights, layer, resid_mid)))
    return at("mlp_out", neurons_output(weights, layer, at("post", post)))


def embed(weights: Weights, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The first residual stream: token embeddings, and those of positions where they are learned."""
    embedded = weights.W_E[tokens]
    return embedded if weights.W_pos is None else embedded + position_embeddings(weights, tokens.shape[1])


def position_embeddings(weights: Weights, n_pos: int) -> Float[Tensor, "pos d_model"]:
    """Learned ones; zero where positions rotate queries and keys instead."""
    if weights.W_pos is None:
        return weights.W_E.new_zeros(n_pos, weights.d_model)
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
    if layer is not None and hook in ("q", "k", "v"):
        heads = list(range(weights.n_heads)) if units is None else units
        return project(weights, hook, layer, heads, attention_input(weights, layer, resid))
    return mlp_pre(weights, layer, resid, units) if layer is not None and hook == "pre" else resid


def layer_norm(
    x: Float[Tensor, "*rows d_model"], scale: Float[Tensor, " d_model"], bias: Float[Tensor, " d_model"], eps: float
) -> Float[Tensor, "*rows d_model"]:
    """LayerNorm of each row; where it was folded into the weights, ``scale`` is one and ``bias`` zero."""
    return functional.layer_norm(x, x.shape[-1:], scale, bias, eps)


def attention_input(
    weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """What a layer's query, key and value weights read."""
    return layer_norm(resid, weights.ln1_w[layer], weights.ln1_b[layer], weights.architecture.eps)


def mlp_input(weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """What a layer's neurons read."""
    return layer_norm(resid, weights.ln2_w[layer], weights.ln2_b[layer], weights.architecture.eps)


def queries_keys_values(
    weights: Weights, layer: int, resid: Float[Tensor, "*rows d_model"]
) -> tuple[
    Float[Tensor, "*rows head_index d_head"],
    Float[Tensor, "*rows head_index d_head"],
    Float[Tensor, "*rows head_index d_head"],
]:
    """Queries, keys and values of all heads, from one product."""
    normed = attention_input(weights, layer, resid).flatten(end_dim=-2)
    fused = torch.addmm(weights.b_QKV[layer], normed, weights.W_QKV[layer])
    q, k, v = fused.view(*resid.shape[:-1], 3, weights.n_heads, weights.d_head).unbind(dim=-3)
    return q, k, v


def project(
    weights: Weights, hook: str, layer: int, heads: list[int], normed: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows heads d_head"]:
    """Queries (``q``), keys (``k``) or values (``v``) of some heads, from normalised rows."""
    weight = {"q": weights.W_Q, "k": weights.W_K, "v": weights.W_V}[hook][layer, heads]
    bias = {"q": weights.b_Q, "k": weights.b_K, "v": weights.b_V}[hook][layer, heads]
    flat = weight.permute(1, 0, 2).flatten(1)  # (d_model, heads * d_head)
    rows = torch.addmm(bias.flatten(), normed.flatten(end_dim=-2), flat)
    return rows.view(*normed.shape[:-1], len(heads), weights.d_head)


def scaled(q: Float[Tensor, "*rows d_head"]) -> Float[Tensor, "*rows d_head"]:
    """Queries such that a score is their product with a key."""
    return q / float(q.shape[-1] ** 0.5)


def attention_pattern(
    q: Float[Tensor, "batch query_pos head_index d_head"], k: Float[Tensor, "batch key_pos head_index d_head"]
) -> Float[Tensor, "batch head_index query_pos key_pos"]:
    """Attention probabilities over whole prompts; every query sees itself and what is before it."""
    scores: Tensor = torch.einsum("bqhd,bkhd->bhqk", scaled(q), k)
    is_seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril()
    return scores.masked_fill(~is_seen, -torch.inf).softmax(dim=-1)


def attend(
    q: Float[Tensor, "*batch pos head_index d_head"],
    k: Float[Tensor, "*batch pos head_index d_head"],
    v: Float[Tensor, "*batch pos head_index d_head"],
) -> Float[Tensor, "*batch pos head_index d_head"]:
    """Each head's ``z`` over whole prompts; right-padding needs no mask, because attention is causal."""
    flat = [part.flatten(end_dim=-4).transpose(1, 2) for part in (q, k, v)]
    z = functional.scaled_dot_product_attention(flat[0], flat[1], flat[2], is_causal=True)
    return z.transpose(1, 2).reshape(q.shape)


def attend_rows(
    seen: Sight,
    q: Float[Tensor, "batch cell query_row heads d_head"],
    k: Float[Tensor, "batch cell key_row heads d_head"],
    v: Float[Tensor, "batch cell key_row heads d_head"],
    cached_k: Float[Tensor, "batch pos heads d_head"],
    cached_v: Float[Tensor, "batch pos heads d_head"],
    change_pattern: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "batch cell query_row heads d_head"]:
    """Each head's ``z`` at some rows, which attend to changed rows and to orig's cached keys and values elsewhere.

    Args:
        change_pattern: Gets attention probabilities (batch, heads, cell, query_row, cached key then changed key) and
            gives the ones to go on with.
    """
    if seen.whole_prompts and change_pattern is None:
        return attend(q, k, v)
    by_head = [part.permute(0, 3, 1, 2, 4) for part in (scaled(q), k, v)]  # (batch, heads, cell, row, d_head)
    q_heads, k_heads, v_heads = by_head
    cached_keys = cached_k[:, : seen.n_cached].permute(0, 2, 3, 1)  # (batch, heads, d_head, key_pos)
    cached_values = cached_v[:, : seen.n_cached].transpose(1, 2)
    cached_scores = (q_heads.flatten(2, 3) @ cached_keys).view(*q_heads.shape[:4], -1)
    changed_scores = q_heads @ k_heads.transpose(-1, -2)
    scores = torch.cat(
        [
            cached_scores.masked_fill(~seen.cached[:, None, None], -torch.inf),
            changed_scores.masked_fill(~seen.computed[:, None, None], -torch.inf),
        ],
        dim=-1,
    )
    probabilities = scores.float().softmax(dim=-1).to(q.dtype)
    if change_pattern is not None:
        probabilities = change_pattern(probabilities)
    z: Tensor = probabilities[..., seen.n_cached :] @ v_heads
    z = z + (probabilities[..., : seen.n_cached].flatten(2, 3) @ cached_values).view(z.shape)
    return z.permute(0, 2, 3, 1, 4)


def query_scores(
    q: Float[Tensor, "batch q_cell heads d_head"], k: Float[Tensor, "batch pos heads d_head"]
) -> Float[Tensor, "batch q_cell heads pos"]:
    """Scores of one query per example with keys that are the same in every cell."""
    scores: Tensor = scaled(q).transpose(1, 2) @ k.permute(0, 2, 3, 1)
    return scores.transpose(1, 2)


def query_scores_of_rows(
    weights: Weights,
    layer: int,
    heads: list[int],
    q: Float[Tensor, "batch q_cell heads d_head"],
    resid: Float[Tensor, "batch cell row d_model"],
) -> Float[Tensor, "batch cell row heads"]:
    """Scores of one query per example with the keys of rows that differ from cell to cell.

    Shortcut: the key is read through the query, ``q . (x W_K + b_K) = x . (W_K q) + q . b_K``, so that a key costs one
    dot product of length ``d_model`` per row and head in place of a product with ``W_K``.
    """
    normed, q = attention_input(weights, layer, resid), scaled(q)
    through_query = torch.einsum("hmd,bchd->bchm", weights.W_K[layer, heads], q)
    if q.shape[1] == 1:  # one query for all cells: one product per example
        flat: Tensor = normed.flatten(1, 2) @ through_query[:, 0].transpose(1, 2)
        scores = flat.view(*normed.shape[:3], -1)
    else:
        scores = normed @ through_query.transpose(-1, -2)
    return scores + (q * weights.b_K[layer, heads]).sum(dim=-1)[..., None, :]


def query_pattern(
    scores: Float[Tensor, "batch cell heads pos"], visible: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch cell heads pos"]:
    """Attention probabilities of one query per example."""
    return scores.masked_fill(~visible[:, None, None], -torch.inf).float().softmax(dim=-1)


def heads_output(
    weights: Weights, layer: int, z: Float[Tensor, "*rows head_index d_head"]
) -> Float[Tensor, "*rows d_model"]:
    """``attn_out``: what all heads and the output bias write."""
    flat = z.reshape(-1, weights.n_heads * weights.d_head)
    out = torch.addmm(weights.b_O[layer], flat, weights.W_O[layer].flatten(end_dim=1))
    return out.view(*z.shape[:-2], weights.d_model)


def mlp_pre(
    weights: Weights, layer: int, resid_mid: Float[Tensor, "*rows d_model"], neurons: list[int] | None = None
) -> Float[Tensor, "*rows neurons"]:
    """``pre`` of all neurons, or of some."""
    normed = mlp_input(weights, layer, resid_mid)
    if neurons is not None:
        return normed @ weights.W_in[layer][:, neurons] + weights.b_in[layer][neurons]
    pre = torch.addmm(weights.b_in[layer], normed.reshape(-1, weights.d_model), weights.W_in[layer])
    return pre.view(*resid_mid.shape[:-1], weights.d_mlp)


def activation(pre: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """``gelu_new``."""
    return functional.gelu(pre, approximate="tanh")


def neurons_output(weights: Weights, layer: int, post: Float[Tensor, "*rows d_mlp"]) -> Float[Tensor, "*rows d_model"]:
    """``mlp_out``: what all neurons and the output bias write."""
    out = torch.addmm(weights.b_out[layer], post.reshape(-1, weights.d_mlp), weights.W_out[layer])
    return out.view(*post.shape[:-1], weights.d_model)


def final_norm(weights: Weights, resid: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """What the unembedding reads."""
    return layer_norm(resid, weights.ln_final_w, weights.ln_final_b, weights.architecture.eps)


def unembed(weights: Weights, normed: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
    """Logits over the whole vocabulary."""
    logits = torch.addmm(weights.b_U, normed.reshape(-1, weights.d_model), weights.W_U)
    return logits.view(*normed.shape[:-1], weights.architecture.d_vocab)
