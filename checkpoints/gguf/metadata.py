"""From a GGUF file's metadata to the config.json of the same model: every key is known, or refused by name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints.families.known import FAMILIES, unsupported
from checkpoints.families.record import Family
from checkpoints.files import UnusableCheckpoint, open_regular
from checkpoints.gguf.header import Header
from planning.architecture import Architecture

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Those of llama.cpp that are read; each is the family of the same name. ``llama`` is Mistral too."""
KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
"""Keys of config.json, by those of llama.cpp without the architecture."""
NEEDED = ("block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count")
CHECKED = (
    "attention.value_length",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "expert_count",
    "expert_used_count",
)
"""Keys that are read in other ways."""
ROPE_FACTORS = "rope_freqs.weight"
"""A tensor by which rotary frequencies are divided: how Llama 3.1's scaling is stored."""

Refused = Callable[[str], UnusableCheckpoint]


def config_of(header: Header) -> dict[str, Any]:
    """The ``config.json`` that means the same model.

    Raises:
        UnusableCheckpoint: It is of another architecture, or a key is not known here; names it.
    """
    metadata, kind = header.metadata, header.metadata.get("general.architecture")
    if kind not in ARCHITECTURES:
        raise UnusableCheckpoint(
            f"its GGUF architecture is {kind!r}, and of GGUF files only {', '.join(ARCHITECTURES)} can be run"
        )
    own = {key.removeprefix(f"{kind}."): value for key, value in metadata.items() if key.startswith(f"{kind}.")}
    if unknown := sorted(own.keys() - KEYS.keys() - set(CHECKED)):
        raise UnusableCheckpoint(f"its metadata say {kind}.{unknown[0]}, which is not known here")
    if missing := [key for key in NEEDED if key not in own]:
        raise UnusableCheckpoint(f"its metadata do not say {kind}.{missing[0]}")
    config = {KEYS[key]: value for key, value in own.items() if key in KEYS}
    config |= {"model_type": kind, "tie_word_embeddings": "output.weight" not in header.tensors}
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    config.setdefault("vocab_size", len(metadata.get("tokenizer.ggml.tokens", ())))
    config.setdefault("rms_norm_eps", 1e-5)
    config.setdefault("head_dim", None)
    if kind != "qwen2":
        config["attention_bias"] = "blk.0.attn_q.bias" in header.tensors
    if kind == "llama":
        config["mlp_bias"] = "blk.0.ffn_gate.bias" in header.tensors
    config["num_local_experts"] = own.get("expert_count", 0)
    config["rope_scaling"] = _scaling(own)
    return config


def _scaling(own: Mapping[str, Any]) -> dict[str, Any] | None:
    """``rope_scaling`` of config.json."""
    kind = own.get("rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind != "linear":
        raise UnusableCheckpoint(
            f"its rope.scaling.type is {kind!r}, and of GGUF files only none and linear can be run"
        )
    return {"rope_type": kind, "factor": own.get("rope.scaling.factor", 1.0)}


def gguf_configuration(path: Path, header: Header) -> tuple[Family, dict[str, Any], Architecture]:
    """Family, config and architecture of a GGUF file.

    Raises:
        UnusableCheckpoint: The model cannot be run; says why.
        ValueError: The metadata contradict themselves.
    """
    config = config_of(header)
    reason = unsupported(config)
    if reason is not None:
        raise UnusableCheckpoint(reason)
    family = FAMILIES[config["model_type"]]
    architecture = family.architecture(config)
    for key in ("attention.value_length", "rope.dimension_count"):
        found = header.metadata.get(f"{config['model_type']}.{key}", architecture.d_head)
        if found != architecture.d_head:
            raise UnusableCheckpoint(f"its {key} is {found!r}, and its heads are {architecture.d_head} wide")
    return family, config, _with_factors(path, header, architecture)


def _with_factors(path: Path, header: Header, architecture: Architecture) -> Architecture:
    """Rotary frequencies divided by the file's factors, where it has some."""
    if ROPE_FACTORS not in header.tensors or architecture.rotary is None:
        return architecture
    tensor = header.tensors[ROPE_FACTORS]
    frequencies = np.array(architecture.rotary.frequencies, np.float32)
    if tensor.dtype != "F32" or tensor.shape != frequencies.shape:
        raise ValueError(f"{ROPE_FACTORS} has the type {tensor.dtype} and the shape {list(tensor.shape)}")
    with open_regular(path) as file:
        file.seek(tensor.start)
        factors = np.frombuffer(file.read(tensor.stop - tensor.start), "<f4")
    if not (np.isfinite(factors).all() and (factors > 0).all()):
        raise ValueError(f"{ROPE_FACTORS} holds values that are no factors")
    divided = tuple((frequencies / factors).tolist())
    return replace(architecture, rotary=replace(architecture.rotary, frequencies=divided))
