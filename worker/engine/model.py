"""A model's weights as a typed record, under TransformerLens' names, stacked over layers; and each linear map of them.

The maps follow in the order of a forward pass: embeddings, what heads and neurons read of the stream, what they write.
"""
# ruff: noqa: N802, N815

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planning.architecture import Architecture, Rotary
from worker.engine.rows import chosen

FUSED = ("W_Q", "W_K", "W_V", "b_Q", "b_K", "b_V")
"""Tensors that are held twice while a model runs: by themselves, and side by side in ``QKV``."""


@dataclass(frozen=True, eq=False)
class Weights:
    """All weights of a decoder; what its family lacks is None.

    Norm weights are ones and biases zeros where a norm was folded into what reads it, and biases zeros where a model
    has none. Gains of Gemma's norms include their one, and embeddings the model's scale.
    """

    architecture: Architecture
    W_E: Float[Tensor, "d_vocab d_model"]
    W_Q: Float[Tensor, "n_layers n_heads d_model d_head"]
    W_K: Float[Tensor, "n_layers n_kv_heads d_model d_head"]
    W_V: Float[Tensor, "n_layers n_kv_heads d_model d_head"]
    b_Q: Float[Tensor, "n_layers n_heads d_head"]
    b_K: Float[Tensor, "n_layers n_kv_heads d_head"]
    b_V: Float[Tensor, "n_layers n_kv_heads d_head"]
    W_O: Float[Tensor, "n_layers n_heads d_head d_model"]
    b_O: Float[Tensor, "n_layers d_model"]
    W_in: Float[Tensor, "n_layers d_model d_mlp"]
    b_in: Float[Tensor, "n_layers d_mlp"]
    W_out: Float[Tensor, "n_layers d_mlp d_model"]
    b_out: Float[Tensor, "n_layers d_model"]
    ln1_w: Float[Tensor, "n_layers d_model"]
    ln1_b: Float[Tensor, "n_layers d_model"]
    ln2_w: Float[Tensor, "n_layers d_model"]
    ln2_b: Float[Tensor, "n_layers d_model"]
    ln_final_w: Float[Tensor, " d_model"]
    ln_final_b: Float[Tensor, " d_model"]
    W_U: Float[Tensor, "d_model d_vocab"]
    b_U: Float[Tensor, " d_vocab"]
    W_pos: Float[Tensor, "n_ctx d_model"] | None = None
    """Learned positions."""
    W_gate: Float[Tensor, "n_layers d_model d_mlp"] | None = None
    """Of gated MLPs: ``pre`` is its product, and ``W_in``'s is ``pre_linear``."""
    b_gate: Float[Tensor, "n_layers d_mlp"] | None = None
    q_norm_w: Float[Tensor, "n_layers d_head"] | None = None
    k_norm_w: Float[Tensor, "n_layers d_head"] | None = None
    ln1_post_w: Float[Tensor, "n_layers d_model"] | None = None
    """Gains of the norm after attention."""
    ln2_post_w: Float[Tensor, "n_layers d_model"] | None = None
    """Of the norm after the MLP."""

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        """Their precision."""
        return self.W_E.dtype

    @property
    def is_rounded(self) -> bool:
        """Whether they are stored in less than float32, so that nothing can be computed in it."""
        return self.dtype == torch.bfloat16

    @property
    def n_bytes(self) -> int:
        """Memory that they take, with the copies that have been made of them so far."""
        made: tuple[Tensor, ...] = vars(self).get("QKV", ())
        rounded = self.bfloat16.n_bytes if "bfloat16" in vars(self) and self.bfloat16 is not self else 0
        return rounded + sum(int(tensor.nbytes) for tensor in (*self.tensors().values(), *made))

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name, as a safetensors file stores them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Weights":
        """These weights on another device or in another precision; unchanged parts are shared."""
        if torch.device(device or self.W_E.device) == self.W_E.device and (dtype or self.W_E.dtype) == self.W_E.dtype:
            return self
        moved = {name: tensor.to(device=device, dtype=dtype) for name, tensor in self.tensors().items()}
        return replace(self, **moved)  # type: ignore[arg-type]

    def frequencies(self, rotary: Rotary) -> Float[Tensor, " pairs"]:
        """Its frequencies, in float32 on the weights' device."""
        if rotary not in self._frequencies:
            self._frequencies[rotary] = torch.tensor(rotary.frequencies, dtype=torch.float32, device=self.device)
        return self._frequencies[rotary]

    @cached_property
    def _frequencies(self) -> dict[Rotary, Tensor]:
        return {}

    @cached_property
    def bfloat16(self) -> "Weights":
        """These weights in bfloat16."""
        return self.to(dtype=torch.bfloat16)

    @cached_property
    def key(self) -> object:
        """Stands for these weights in the keys of an activation cache: no two records share one."""
        return object()

    @cached_property
    def QKV(self) -> tuple[Float[Tensor, "n_layers d_model qkv"], Float[Tensor, "n_layers qkv"]]:
        """Query, key and value weights of all heads side by side, and their biases: one product instead of three."""
        parts = (weight.permute(0, 2, 1, 3).flatten(2) for weight in (self.W_Q, self.W_K, self.W_V))
        biases = torch.cat([self.b_Q.flatten(1), self.b_K.flatten(1), self.b_V.flatten(1)], dim=1)
        return torch.cat(list(parts), dim=2).contiguous(), biases


def embed(weights: Weights, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """The first residual stream: token embeddings, and those of positions where they are learned."""
    embedded = weights.W_E[tokens]
    return embedded if weights.W_pos is None else embedded + weights.W_pos[: tokens.shape[1]]


def position_embeddings(weights: Weights, n_pos: int) -> Float[Tensor, "pos d_model"]:
    """Learned ones; zero where positions rotate queries and keys instead."""
    if weights.W_pos is None:
        return weights.W_E.new_zeros(n_pos, weights.architecture.d_model)
    return weights.W_pos[:n_pos]


def queries_keys_values(
    weights: Weights,
    layer: int,
    normed: Float[Tensor, "*rows d_model"],
    querying: Float[Tensor, "*query_rows d_model"] | None = None,
) -> tuple[
    Float[Tensor, "*query_rows n_heads d_head"],
    Float[Tensor, "*rows n_kv_heads d_head"],
    Float[Tensor, "*rows n_kv_heads d_head"],
]:
    """Queries, keys and values of all heads, from normalised rows, by one product.

    Args:
        querying: The rows that have queries, where not all have; then by two products.
    """
    (weight, bias), shape = (both[layer] for both in weights.QKV), weights.architecture
    if querying is None:
        heads = affine(normed, weight, bias).unflatten(-1, (-1, shape.d_head))
        q, k, v = heads.split([shape.n_heads, shape.n_kv_heads, shape.n_kv_heads], dim=-2)
        return q, k, v
    of_queries = shape.n_heads * shape.d_head
    q = affine(querying, weight[:, :of_queries], bias[:of_queries]).unflatten(-1, (-1, shape.d_head))
    k, v = affine(normed, weight[:, of_queries:], bias[of_queries:]).unflatten(-1, (-1, shape.d_head)).chunk(2, dim=-2)
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


def affine(
    x: Float[Tensor, "*rows read"], weight: Float[Tensor, "read written"], bias: Float[Tensor, " written"]
) -> Float[Tensor, "*rows written"]:
    """``x @ weight + bias``, as one product of all rows."""
    return torch.addmm(bias, x.flatten(end_dim=-2), weight).view(*x.shape[:-1], len(bias))
