"""Tiny random checkpoints of every family, made and saved by transformers."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_NEO = {"vocab_size": 23, "max_position_embeddings": 16}
_RMS = {
    "vocab_size": 23,
    "max_position_embeddings": 16,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4}
_LONG = {"rope_type": "longrope", "short_factor": [1.1, 1.5], "long_factor": [2.0, 9.0]}
_GPTJ = {"vocab_size": 23, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
_NEOX = {**_RMS, "rotary_pct": 0.5, "num_attention_heads": 2}
_PHI = {**_RMS, "num_attention_heads": 2, "partial_rotary_factor": 0.5}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt_neo": (
        "gpt_neo",
        {
            **_NEO,
            "hidden_size": 8,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
        },
    ),
    "gpt_neox": ("gpt_neox", _NEOX),
    "gpt_neox, sequential": ("gpt_neox", {**_NEOX, "use_parallel_residual": False, "attention_bias": False}),
    "gpt_neox, linear": ("gpt_neox", {**_NEOX, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "gptj": ("gptj", {**_GPTJ, "rotary_dim": 4}),
    "opt": (
        "opt",
        {
            **_NEO,
            "hidden_size": 8,
            "ffn_dim": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "word_embed_proj_dim": 8,
        },
    ),
    "opt, no biases": (
        "opt",
        {
            **_NEO,
            "hidden_size": 8,
            "ffn_dim": 20,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "enable_bias": False,
        },
    ),
    "llama": ("llama", _RMS),
    "llama, biases": ("llama", {**_RMS, "attention_bias": True, "head_dim": 6, "tie_word_embeddings": True}),
    "llama, MLP biases": ("llama", {**_RMS, "mlp_bias": True}),
    "llama, llama3": ("llama", {**_RMS, "hidden_size": 64, "rope_parameters": {**_LLAMA3, "rope_theta": 500.0}}),
    "llama, linear": ("llama", {**_RMS, "rope_scaling": {"type": "linear", "factor": 2.0}, "rope_theta": 300.0}),
    "llama, dynamic": ("llama", {**_RMS, "hidden_size": 32, "rope_scaling": {"type": "dynamic", "factor": 2.5}}),
    "llama, yarn": ("llama", {**_RMS, "hidden_size": 64, "rope_scaling": _YARN}),
    "mistral": ("mistral", {**_RMS, "sliding_window": 3}),
    "mistral, no window": ("mistral", {**_RMS, "sliding_window": None, "head_dim": 6}),
    "qwen2": ("qwen2", _RMS),
    "qwen2, window": ("qwen2", {**_RMS, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
    "qwen3": ("qwen3", {**_RMS, "head_dim": 6}),
    "phi": ("phi", _PHI),
    "phi3": ("phi3", {**_RMS, "sliding_window": 4, "partial_rotary_factor": 0.5}),
    "phi3, longrope": ("phi3", {**_RMS, "rope_scaling": _LONG, "original_max_position_embeddings": 12}),
    "gemma": ("gemma", {**_RMS, "head_dim": 6}),
    "gemma2": (
        "gemma2",
        {
            **_RMS,
            "head_dim": 6,
            "query_pre_attn_scalar": 7,
            "sliding_window": 3,
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3_text": (
        "gemma3_text",
        {
            **_RMS,
            "num_hidden_layers": 3,
            "head_dim": 6,
            "query_pre_attn_scalar": 7,
            "sliding_window": 3,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
    ),
}
"""``model_type`` and what its config says, by name of the case."""


def tiny_model(case: str, seed: int = 0, scale: float = 0.3, **changes: Any) -> PreTrainedModel:
    """The model of a case."""
    model_type, values = CASES[case]
    return random_model(model_type, {**values, **changes}, seed, scale)


def random_model(model_type: str, values: dict[str, Any], seed: int, scale: float) -> PreTrainedModel:
    """A model of transformers whose every parameter is random, in float32."""
    config = AutoConfig.for_model(model_type, **values)
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for name, value in model.named_parameters():
            middle = 1.0 if "norm" in name and name.endswith("weight") and not model_type.startswith("gemma") else 0.0
            value.normal_(middle, scale)
    return model.eval()


def write_family_folder(
    folder: Path, case: str, seed: int = 0, scale: float = 0.3, changes: dict[str, Any] | None = None, **saving: Any
) -> PreTrainedModel:
    """The model of a case, saved into a folder.

    Args:
        changes: Of its config.
        saving: For ``save_pretrained``, such as ``max_shard_size``.
    """
    model = tiny_model(case, seed, scale, **changes or {})
    model.save_pretrained(folder, **saving)
    return model
