"""A model's weights as a typed record, under TransformerLens' names, stacked over layers."""
# ruff: noqa: N802, N815

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from planning.architecture import Architecture, Rotary

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
