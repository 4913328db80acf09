"""Llama and the families that share its block: RMSNorm, rotary positions, grouped heads, gated neurons."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from checkpoints.families.layout import NO_BIASES, Layout
from checkpoints.families.record import Config, Family, Part, classes
from checkpoints.families.rope import rope_parameters, rotary, scaling_kind
from checkpoints.families.sizes import FULL, SLIDING, activation, counted, head_size, layers, windows
from planning.architecture import Architecture

ATTENTION_BIASES = frozenset({"Q", "K", "V", "O"})
MLP_BIASES = frozenset({"gate", "in", "out"})
RMS_EPS = "rms_norm_eps"
NORMS = {"ln1": "input_layernorm", "ln2": "post_attention_layernorm"}
LINEAR = {
    "Q": "self_attn.q_proj",
    "K": "self_attn.k_proj",
    "V": "self_attn.v_proj",
    "O": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "in": "mlp.up_proj",
    "out": "mlp.down_proj",
}
FUSED = {"QKV": "self_attn.qkv_proj", "O": "self_attn.o_proj", "gate_in": "mlp.gate_up_proj", "out": "mlp.down_proj"}
LLAMA_LAYOUT = Layout("embed_tokens", "layers", LINEAR, NORMS, "norm")
QWEN3_LAYOUT = Layout(
    "embed_tokens", "layers", LINEAR, NORMS, "norm", {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
)
PHI3_LAYOUT = Layout("embed_tokens", "layers", FUSED, NORMS, "norm")


def rms_decoder(
    config: Config,
    n_ctx: int,
    n_kv_heads: int | None = None,
    d_head: int | None = None,
    theta: float = 10000.0,
    fraction: float | None = None,
    kinds: tuple[str, ...] = (),
    **particulars: Any,
) -> Architecture:
    """A decoder with RMSNorm and gated neurons.

    Args:
        n_ctx: What an absent ``max_position_embeddings`` means, as the other arguments do for their keys.
        kinds: Of rotary scaling; empty: all that are known.
        particulars: What else the family sets in the record.
    """
    width, n_heads = config["hidden_size"], config["num_attention_heads"]
    longest = config.get("max_position_embeddings", n_ctx)
    d_head = head_size(width, n_heads, config.get("head_dim", d_head))
    if "rotary" not in particulars:
        particulars["rotary"] = rotary(rope_parameters(config, theta, fraction), d_head, longest, kinds)
    return Architecture(
        n_layers=layers(config),
        n_heads=n_heads,
        n_kv_heads=groups(config, n_kv_heads),
        d_model=width,
        d_head=d_head,
        d_mlp=config["intermediate_size"],
        n_ctx=longest,
        d_vocab=config["vocab_size"],
        family=config["model_type"],
        norm="rms_norm",
        eps=float(config.get("rms_norm_eps", particulars.pop("eps", 1e-6))),
        is_gated=True,
        **{"activation": activation(config, "hidden_act", "silu"), **particulars},
    )


def groups(config: Config, default: int | None = None) -> int:
    """Key-value heads; null means one per query head."""
    found = config.get("num_key_value_heads", default)
    return counted("num_key_value_heads", config["num_attention_heads"] if found is None else found)


def has_attention_biases(config: Config) -> bool:
    """Whether queries, keys, values and outputs of attention have biases, where a key decides."""
    return bool(config.get("attention_bias", False))


def _llama(config: Config) -> Architecture:
    return rms_decoder(config, 2048, has_value_biases=has_attention_biases(config))


def _mistral(config: Config) -> Architecture:
    window, n_layers = config.get("sliding_window", 4096), layers(config)
    kinds = [FULL if window is None else SLIDING] * n_layers
    return rms_decoder(config, 131072, 8, has_value_biases=False, windows=windows(kinds, window, n_layers))


def _qwen(config: Config, d_head: int | None, has_value_biases: bool, has_qk_norms: bool) -> Architecture:
    return rms_decoder(
        config,
        32768,
        32,
        d_head,
        has_value_biases=has_value_biases,
        has_qk_norms=has_qk_norms,
        windows=qwen_windows(config),
    )


def qwen_windows(config: Config) -> tuple[int | None, ...]:
    """Windows of Qwen: of the layers from ``max_window_layers`` on, if they are used at all."""
    n_layers = layers(config)
    window = config.get("sliding_window", 4096) if config.get("use_sliding_window", False) else None
    first = n_layers if window is None else config.get("max_window_layers", 28)
    kinds = config.get("layer_types") or [SLIDING if layer >= first else FULL for layer in range(n_layers)]
    return windows(kinds, window, n_layers)


def _qwen2(config: Config) -> Architecture:
    return _qwen(config, None, has_value_biases=True, has_qk_norms=False)


def _qwen3(config: Config) -> Architecture:
    return _qwen(config, 128, has_value_biases=has_attention_biases(config), has_qk_norms=True)


def _phi3(config: Config) -> Architecture:
    window, n_layers = config.get("sliding_window"), layers(config)
    kinds = [FULL if window is None else SLIDING] * n_layers
    found = windows(kinds, window, n_layers)
    known = ("default", "longrope", "su")
    config = {"original_max_position_embeddings": 4096, **config}
    one = rms_decoder(config, 4096, eps=1e-5, fraction=1.0, kinds=known, has_value_biases=False, windows=found)
    if scaling_kind(rope_parameters(config, fraction=1.0)) == "default":
        return one
    return replace(one, n_ctx=min(one.n_ctx, config["original_max_position_embeddings"]))


def tensors(layout: Layout, config: Config, architecture: Architecture) -> Iterator[Part]:
    """Every tensor of a family where ``attention_bias`` decides on the biases."""
    return layout.parts(architecture, ATTENTION_BIASES if has_attention_biases(config) else NO_BIASES)


def _llama_tensors(config: Config, architecture: Architecture) -> Iterator[Part]:
    attention = ATTENTION_BIASES if has_attention_biases(config) else NO_BIASES
    return LLAMA_LAYOUT.parts(architecture, attention | (MLP_BIASES if config.get("mlp_bias") else NO_BIASES))


def _qwen2_tensors(config: Config, architecture: Architecture) -> Iterator[Part]:
    return LLAMA_LAYOUT.parts(architecture, frozenset({"Q", "K", "V"}))


def _plain_tensors(layout: Layout, config: Config, architecture: Architecture) -> Iterator[Part]:
    return layout.parts(architecture)


LLAMA_FAMILIES = (
    Family("llama", "Llama", classes("Llama"), _llama, _llama_tensors, RMS_EPS),
    Family("mistral", "Mistral", classes("Mistral"), _mistral, partial(_plain_tensors, LLAMA_LAYOUT), RMS_EPS),
    Family("qwen2", "Qwen 2", classes("Qwen2"), _qwen2, _qwen2_tensors, RMS_EPS),
    Family("qwen3", "Qwen 3", classes("Qwen3"), _qwen3, partial(tensors, QWEN3_LAYOUT), RMS_EPS),
    Family("phi3", "Phi-3", classes("Phi3"), _phi3, partial(_plain_tensors, PHI3_LAYOUT), RMS_EPS),
)
