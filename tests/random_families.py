"""Tiny models with random weights, one for each particular that a family of decoders has and GPT-2 has not."""

import torch
from torch import Tensor

from planning.architecture import Architecture, Rotary
from worker.engine.model import Weights

N_LAYERS, N_HEADS, N_KV_HEADS, D_MODEL, D_HEAD, D_MLP, D_VOCAB = 3, 4, 2, 12, 6, 10, 23


def _architecture(**particulars: object) -> Architecture:
    sizes = {"n_layers": N_LAYERS, "n_heads": N_HEADS, "d_model": D_MODEL, "d_mlp": D_MLP, "d_head": D_HEAD}
    return Architecture(**{**sizes, "n_ctx": 16, "d_vocab": D_VOCAB, **particulars})  # type: ignore[arg-type]


LLAMA = {
    "norm": "rms_norm",
    "activation": "silu",
    "is_gated": True,
    "n_kv_heads": N_KV_HEADS,
    "rotary": Rotary((1.0, 0.3, 0.1)),
}
GEMMA = {**LLAMA, "activation": "gelu_tanh", "has_post_norms": True, "windows": (3, None, 2), "attention_divisor": 3.0}
ARCHITECTURES = {
    "llama": _architecture(family="llama", **LLAMA),
    "mistral": _architecture(family="mistral", **LLAMA, windows=(3, 3, 3)),
    "qwen3": _architecture(family="qwen3", **LLAMA, has_qk_norms=True),
    "gemma2": _architecture(family="gemma2", **GEMMA, attention_cap=2.0, logit_cap=3.0),
    "gemma3_text": _architecture(
        family="gemma3_text", **GEMMA, has_qk_norms=True, local_rotary=Rotary((1.0, 0.5, 0.2), factor=1.2)
    ),
    "gpt_neox": _architecture(family="gpt_neox", activation="gelu", is_parallel=True, rotary=Rotary((1.0, 0.2))),
    "gptj": _architecture(family="gptj", is_parallel=True, rotary=Rotary((1.0, 0.2), is_interleaved=True)),
    "gpt_neo": _architecture(family="gpt_neo", windows=(None, 2, None), attention_divisor=1.0),
    "opt": _architecture(family="opt", activation="relu"),
    "parallel_gated": _architecture(family="llama", **LLAMA, is_parallel=True),
}
"""By family; the last is no family, and joins particulars that no family joins."""


def random_weights(architecture: Architecture, seed: int = 0) -> Weights:
    """Every weight, bias and gain random, and large enough that attention is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    a = architecture
    n, d = a.n_layers, a.d_model

    def drawn(*shape: int, mean: float = 0.0) -> Tensor:
        return mean + 0.4 * torch.randn(*shape, generator=generator)

    def if_any(is_there: object, *shape: int, mean: float = 0.0) -> Tensor | None:
        return drawn(*shape, mean=mean) if is_there else None

    return Weights(
        architecture=a,
        W_E=drawn(a.d_vocab, d),
        W_pos=if_any(a.rotary is None, a.n_ctx, d),
        W_Q=drawn(n, a.n_heads, d, a.d_head),
        W_K=drawn(n, a.n_kv_heads, d, a.d_head),
        W_V=drawn(n, a.n_kv_heads, d, a.d_head),
        b_Q=drawn(n, a.n_heads, a.d_head),
        b_K=drawn(n, a.n_kv_heads, a.d_head),
        b_V=drawn(n, a.n_kv_heads, a.d_head),
        W_O=drawn(n, a.n_heads, a.d_head, d),
        b_O=drawn(n, d),
        W_gate=if_any(a.is_gated, n, d, a.d_mlp),
        b_gate=if_any(a.is_gated, n, a.d_mlp),
        W_in=drawn(n, d, a.d_mlp),
        b_in=drawn(n, a.d_mlp),
        W_out=drawn(n, a.d_mlp, d),
        b_out=drawn(n, d),
        ln1_w=drawn(n, d, mean=1),
        ln1_b=drawn(n, d) if a.norm == "layer_norm" else torch.zeros(n, d),
        ln2_w=drawn(n, d, mean=1),
        ln2_b=drawn(n, d) if a.norm == "layer_norm" else torch.zeros(n, d),
        ln1_post_w=if_any(a.has_post_norms, n, d, mean=1),
        ln2_post_w=if_any(a.has_post_norms, n, d, mean=1),
        q_norm_w=if_any(a.has_qk_norms, n, a.d_head, mean=1),
        k_norm_w=if_any(a.has_qk_norms, n, a.d_head, mean=1),
        ln_final_w=drawn(d, mean=1),
        ln_final_b=drawn(d) if a.norm == "layer_norm" else torch.zeros(d),
        W_U=drawn(d, a.d_vocab),
        b_U=drawn(a.d_vocab),
    )
