"""A model's weights as a typed record, under TransformerLens' names, stacked over layers."""
# ruff: noqa: N802, N815

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from api_schemas.models import ModelShape


@dataclass(frozen=True, eq=False)
class Weights:
    """All weights of a GPT-2; LayerNorm weights are ones and biases zeros where LayerNorm was folded.

    Activation: ``gelu_new``. Attention scale: ``1 / sqrt(d_head)``.
    """

    W_E: Float[Tensor, "d_vocab d_model"]
    W_pos: Float[Tensor, "n_ctx d_model"]
    W_Q: Float[Tensor, "n_layers n_heads d_model d_head"]
    W_K: Float[Tensor, "n_layers n_heads d_model d_head"]
    W_V: Float[Tensor, "n_layers n_heads d_model d_head"]
    b_Q: Float[Tensor, "n_layers n_heads d_head"]
    b_K: Float[Tensor, "n_layers n_heads d_head"]
    b_V: Float[Tensor, "n_layers n_heads d_head"]
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
    eps: float

    @property
    def n_layers(self) -> int:
        """Layers."""
        return self.W_Q.shape[0]

    @property
    def n_heads(self) -> int:
        """Heads per layer."""
        return self.W_Q.shape[1]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.W_Q.shape[2]

    @property
    def d_head(self) -> int:
        """Width of a head."""
        return self.W_Q.shape[3]

    @property
    def d_mlp(self) -> int:
        """Neurons per MLP."""
        return self.W_in.shape[2]

    @property
    def n_ctx(self) -> int:
        """Longest prompt, in tokens."""
        return self.W_pos.shape[0]

    @property
    def d_vocab(self) -> int:
        """Tokens of the vocabulary."""
        return self.W_E.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        """Their precision."""
        return self.W_E.dtype

    @property
    def shape(self) -> ModelShape:
        """All sizes."""
        return ModelShape(
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            d_model=self.d_model,
            d_mlp=self.d_mlp,
            n_ctx=self.n_ctx,
            d_vocab=self.d_vocab,
        )

    @property
    def n_bytes(self) -> int:
        """Memory that the weights take, without the fused copies."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name, as a safetensors file stores them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Weights":
        """These weights on another device or in another precision; unchanged parts are shared."""
        if torch.device(device or self.device) == self.device and (dtype or self.dtype) == self.dtype:
            return self
        moved = {name: tensor.to(device=device, dtype=dtype) for name, tensor in self.tensors().items()}
        return replace(self, **moved)  # type: ignore[arg-type]

    @cached_property
    def bfloat16(self) -> "Weights":
        """These weights in bfloat16."""
        return self.to(dtype=torch.bfloat16)

    @cached_property
    def key(self) -> object:
        """Stands for these weights in the keys of an activation cache: no two records share one."""
        return object()

    @cached_property
    def W_QKV(self) -> Float[Tensor, "n_layers d_model three_d_model"]:
        """Query, key and value weights of all heads side by side: one product instead of three."""
        parts = (weight.permute(0, 2, 1, 3).flatten(2) for weight in (self.W_Q, self.W_K, self.W_V))
        return torch.cat(list(parts), dim=2).contiguous()

    @cached_property
    def b_QKV(self) -> Float[Tensor, "n_layers three_d_model"]:
        """Biases that go with ``W_QKV``."""
        return torch.cat([self.b_Q.flatten(1), self.b_K.flatten(1), self.b_V.flatten(1)], dim=1)
