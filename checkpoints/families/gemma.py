"""Gemma: scaled embeddings, gains of 1 + w; and what Gemma 2 and 3 add: norms after, soft caps, local layers."""

from functools import partial
from typing import Any

from checkpoints.families.layout import Layout
from checkpoints.families.llama import LINEAR, NORMS, RMS_EPS, has_attention_biases, rms_decoder, tensors
from checkpoints.families.record import Config, Family, Rule, classes
from checkpoints.families.rope import rope_parameters, rotary
from checkpoints.families.sizes import FULL, SLIDING, activation, head_size, is_off, layers, positive, windows
from checkpoints.files import UnusableCheckpoint
from planning.architecture import Architecture, Rotary

POST_NORMS = {
    "ln1": "input_layernorm",
    "ln1_post": "post_attention_layernorm",
    "ln2": "pre_feedforward_layernorm",
    "ln2_post": "post_feedforward_layernorm",
}
GEMMA_LAYOUT = Layout("embed_tokens", "layers", LINEAR, NORMS, "norm")
GEMMA2_LAYOUT = Layout("embed_tokens", "layers", LINEAR, POST_NORMS, "norm")
GEMMA3_LAYOUT = Layout(
    "embed_tokens", "layers", LINEAR, POST_NORMS, "norm", {"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm"}
)
D_HEAD = 256
"""What an absent ``head_dim`` means in all of them."""


def _gemma(config: Config) -> Architecture:
    act = activation(config, "hidden_act", "gelu_pytorch_tanh")
    newer = config.get("hidden_activation")
    # transformers runs the tanh form where old checkpoints say "gelu"
    found = "gelu_tanh" if act == "gelu" else act
    if newer is not None and activation(config, "hidden_activation", newer) != found:
        raise UnusableCheckpoint(
            f"its hidden_act is {config.get('hidden_act')!r} and its hidden_activation {newer!r}, which differ"
        )
    biases = has_attention_biases(config)
    return rms_decoder(config, 8192, 16, D_HEAD, activation=found, has_value_biases=biases)


def _later(config: Config, n_ctx: int, kinds: list[str], **particulars: Any) -> Architecture:
    """What Gemma 2 and 3 have in common."""
    n_layers = layers(config)
    found = windows(config.get("layer_types") or kinds, config.get("sliding_window", 4096), n_layers)
    return rms_decoder(
        config,
        n_ctx,
        4,
        D_HEAD,
        activation=activation(config, "hidden_activation", "gelu_pytorch_tanh"),
        has_post_norms=True,
        has_value_biases=has_attention_biases(config),
        windows=found,
        attention_divisor=positive(config, "query_pre_attn_scalar", 256) ** 0.5,
        **particulars,
    )


def _gemma2(config: Config) -> Architecture:
    return _later(
        config,
        8192,
        [FULL if layer % 2 else SLIDING for layer in range(layers(config))],
        attention_cap=_cap(config, "attn_logit_softcapping", 50.0),
        logit_cap=_cap(config, "final_logit_softcapping", 30.0),
    )


def _gemma3(config: Config) -> Architecture:
    period = config.get("sliding_window_pattern", 6)
    kinds = [SLIDING if (layer + 1) % period else FULL for layer in range(layers(config))]
    full, local = _rotaries(config)
    return _later(
        config,
        131072,
        kinds,
        has_qk_norms=True,
        rotary=full,
        local_rotary=local,
        logit_cap=_cap(config, "final_logit_softcapping", None),
    )


def _rotaries(config: Config) -> tuple[Rotary, Rotary]:
    """How Gemma 3 rotates: in layers that see everything, and in local ones."""
    by_kind = config.get("rope_parameters") or {}
    if not isinstance(by_kind, dict) or not set(by_kind) <= {FULL, SLIDING}:
        raise ValueError(f"its rope_parameters are {by_kind!r}, and must be given for {FULL} and {SLIDING}")
    d_head = head_size(config["hidden_size"], config["num_attention_heads"], config.get("head_dim", D_HEAD))
    n_ctx = config.get("max_position_embeddings", 131072)
    full = (by_kind.get(FULL) or {}) | (config.get("rope_scaling") or {})
    found = [
        rotary(rope_parameters({"rope_parameters": parameters}, theta), d_head, n_ctx)
        for parameters, theta in (
            (full, config.get("rope_theta", 1_000_000.0)),
            (by_kind.get(SLIDING) or {}, config.get("rope_local_base_freq", 10_000.0)),
        )
    ]
    return found[0], found[1]


def _cap(config: Config, key: str, default: float | None) -> float | None:
    return None if config.get(key, default) is None else positive(config, key, default or 0)


BIDIRECTIONAL = is_off("use_bidirectional_attention", "only decoders that look back can be run", default=None)
NO_CAP = Rule(
    "attn_logit_softcapping",
    None,
    (None,),
    "its attn_logit_softcapping is {value}, which transformers does not apply in Gemma 3",
)


def _family(model_type: str, title: str, name: str, architecture: Any, layout: Layout, *rules: Rule) -> Family:
    return Family(
        model_type,
        title,
        classes(name),
        architecture,
        partial(tensors, layout),
        RMS_EPS,
        rules=(BIDIRECTIONAL, *rules),
        is_tied_by_default=True,
        gain_offset=1.0,
        scales_embeddings=True,
    )


GEMMA_FAMILIES = (
    _family("gemma", "Gemma", "Gemma", _gemma, GEMMA_LAYOUT),
    _family("gemma2", "Gemma 2", "Gemma2", _gemma2, GEMMA2_LAYOUT),
    _family("gemma3_text", "Gemma 3 (text)", "Gemma3", _gemma3, GEMMA3_LAYOUT, NO_CAP),
)
