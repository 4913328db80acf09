"""The transformer's own equations, on rows of the residual stream: any leading axes, then ``d_model``."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from worker.engine.weights import GPT2Weights


def layer_norm(
    x: Float[Tensor, "*rows d_model"],
    scale: Float[Tensor, " d_model"],
    bias: Float[Tensor, " d_model"],
    eps: float,
) -> Float[Tensor, "*rows d_model"]:
    """LayerNorm of each row; where it was folded into the weights, ``scale`` is one and ``bias`` zero."""
    return functional.layer_norm(x, x.shape[-1:], scale, bias, eps)


def attention_input(
    weights: GPT2Weights, layer: int, resid: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_model"]:
    """What a layer's query, key and value weights read."""
    return layer_norm(resid, weights.ln1_w[layer], weights.ln1_b[layer], weights.eps)


def queries_keys_values(
    weights: GPT2Weights, layer: int, resid: Float[Tensor, "*rows d_model"]
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
    weights: GPT2Weights,
    component: str,
    layer: int,
    heads: list[int],
    normed: Float[Tensor, "*rows d_model"],
) -> Float[Tensor, "*rows heads d_head"]:
    """Queries (``q``), keys (``k``) or values (``v``) of some heads, from normalised rows."""
    weight = {"q": weights.W_Q, "k": weights.W_K, "v": weights.W_V}[component][layer, heads]
    bias = {"q": weights.b_Q, "k": weights.b_K, "v": weights.b_V}[component][layer, heads]
    flat = weight.permute(1, 0, 2).flatten(1)  # (d_model, heads * d_head)
    rows = torch.addmm(bias.flatten(), normed.flatten(end_dim=-2), flat)
    return rows.view(*normed.shape[:-1], len(heads), weights.d_head)


def causal_mask(n_pos: int, device: torch.device) -> Bool[Tensor, "query_pos key_pos"]:
    """True where a query may look at a key."""
    return torch.ones(n_pos, n_pos, dtype=torch.bool, device=device).tril()


def attention_pattern(
    q: Float[Tensor, "batch query_pos head_index d_head"], k: Float[Tensor, "batch key_pos head_index d_head"]
) -> Float[Tensor, "batch head_index query_pos key_pos"]:
    """Attention probabilities; every query sees itself and what is before it."""
    scores: Tensor = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
    return scores.masked_fill(~causal_mask(q.shape[1], q.device), -torch.inf).softmax(dim=-1)


def attend(
    q: Float[Tensor, "*batch pos head_index d_head"],
    k: Float[Tensor, "*batch pos head_index d_head"],
    v: Float[Tensor, "*batch pos head_index d_head"],
) -> Float[Tensor, "*batch pos head_index d_head"]:
    """Each head's ``z`` over whole prompts; right-padding needs no mask, because attention is causal."""
    flat = [part.flatten(end_dim=-4).transpose(1, 2) for part in (q, k, v)]
    z = functional.scaled_dot_product_attention(flat[0], flat[1], flat[2], is_causal=True)
    return z.transpose(1, 2).reshape(q.shape)


def heads_output(
    weights: GPT2Weights, layer: int, z: Float[Tensor, "*rows head_index d_head"]
) -> Float[Tensor, "*rows d_model"]:
    """``attn_out``: what all heads and the output bias write."""
    flat = z.reshape(-1, weights.n_heads * weights.d_head)
    out = torch.addmm(weights.b_O[layer], flat, weights.W_O[layer].flatten(end_dim=1))
    return out.view(*z.shape[:-2], weights.d_model)


def mlp_pre(
    weights: GPT2Weights, layer: int, resid_mid: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_mlp"]:
    """The MLP's neurons before their activation function."""
    normed = layer_norm(resid_mid, weights.ln2_w[layer], weights.ln2_b[layer], weights.eps)
    pre = torch.addmm(weights.b_in[layer], normed.reshape(-1, weights.d_model), weights.W_in[layer])
    return pre.view(*resid_mid.shape[:-1], weights.d_mlp)


def activation(pre: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """``gelu_new``."""
    return functional.gelu(pre, approximate="tanh")


def neurons_output(
    weights: GPT2Weights, layer: int, post: Float[Tensor, "*rows d_mlp"]
) -> Float[Tensor, "*rows d_model"]:
    """``mlp_out``: what all neurons and the output bias write."""
    out = torch.addmm(weights.b_out[layer], post.reshape(-1, weights.d_mlp), weights.W_out[layer])
    return out.view(*post.shape[:-1], weights.d_model)


def mlp(weights: GPT2Weights, layer: int, resid_mid: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """``mlp_out`` of rows of the residual stream."""
    return neurons_output(weights, layer, activation(mlp_pre(weights, layer, resid_mid)))


def embed(weights: GPT2Weights, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The first residual stream: token and position embeddings."""
    return weights.W_E[tokens] + weights.W_pos[: tokens.shape[1]]


def final_norm(weights: GPT2Weights, resid: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
    """What the unembedding reads."""
    return layer_norm(resid, weights.ln_final_w, weights.ln_final_b, weights.eps)


def unembed(weights: GPT2Weights, normed: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
    """Logits over the whole vocabulary."""
    logits = torch.addmm(weights.b_U, normed.reshape(-1, weights.d_model), weights.W_U)
    return logits.view(*normed.shape[:-1], weights.d_vocab)
