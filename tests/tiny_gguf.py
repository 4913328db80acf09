"""Small GGUF files, written by llama.cpp's own package from models of transformers."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, quants
from tokenizers.pre_tokenizers import ByteLevel

from checkpoints.families.record import Part
from checkpoints.folder import configuration
from checkpoints.gguf.values import gguf_name
from tests.tiny_families import write_family_folder

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 16, "vocab_size": 288}
ALPHABET = sorted(ByteLevel.alphabet())


def write_gguf(
    path: Path,
    case: str = "llama",
    kind: str = "Q8_0",
    changes: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    pre: str = "smollm",
    factors: np.ndarray | None = None,
) -> Path:
    """A case of ``tests.tiny_families`` as a GGUF file.

    Args:
        kind: Of its linear maps and embeddings; norms are float32.
        metadata: Other values of keys, without the architecture.
        factors: By which rotary frequencies are divided.
    """
    folder = path.parent / f"{path.stem}-folder"
    model = write_family_folder(folder, case, changes=SIZES | (changes or {}))
    found = configuration(folder)
    writer = gguf.GGUFWriter(path, found.architecture.family)
    _add_sizes(writer, found.architecture.family, model.config, metadata or {})
    _add_tokenizer(writer, pre)
    state = model.state_dict()
    for part in found.family.parts(found.config, found.architecture):
        name = part.name if part.name.startswith("lm_head") else f"model.{part.name}"
        _add_tensor(writer, part, state[name].numpy(), kind, found.architecture)
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_sizes(writer: gguf.GGUFWriter, family: str, config: Any, metadata: dict[str, Any]) -> None:
    numbers = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "vocab_size": config.vocab_size,
        "rope.dimension_count": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(config.rope_parameters["rope_theta"]),
    } | metadata
    for key, value in numbers.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}[type(value)]
        add(f"{family}.{key}", value)


def _add_tokenizer(writer: gguf.GGUFWriter, pre: str) -> None:
    """All bytes, two merges, and three tokens that are found in text before it is split."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *ALPHABET, "th", "the"]
    tokens += [f"[unused{number}]" for number in range(288 - len(tokens))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def _add_tensor(writer: gguf.GGUFWriter, part: Part, value: np.ndarray, kind: str, architecture: Any) -> None:
    heads = {"Q": architecture.n_heads, "K": architecture.n_kv_heads}.get(part.role.partition("_")[2])
    if architecture.family == "llama" and heads is not None:
        halves = value.reshape(heads, 2, architecture.d_head // 2, *value.shape[1:])
        value = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(value.shape)
    dtype = GGMLQuantizationType[kind if value.ndim == 2 else "F32"]
    if dtype.name == "F32":
        writer.add_tensor(gguf_name(part.name), value)
    else:
        writer.add_tensor(gguf_name(part.name), quants.quantize(value, dtype), raw_dtype=dtype)
