"""Small GPT-2 folders with random weights, written in Hugging Face format without transformers."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from planning.architecture import Architecture


def tiny_shape(n_layers: int = 2, n_heads: int = 2, d_head: int = 4, d_mlp: int | None = None) -> Architecture:
    """A shape with 12 positions and 23 tokens; the MLP is four times as wide as the stream, or as stated."""
    d_model = n_heads * d_head
    return Architecture(
        n_layers=n_layers, n_heads=n_heads, d_model=d_model, d_mlp=d_mlp or 4 * d_model, n_ctx=12, d_vocab=23
    )


def write_gpt2_folder(folder: Path, shape: Architecture, seed: int = 0, scale: float = 0.4) -> Path:
    """A checkpoint whose every weight, bias and LayerNorm parameter is random; its tokens are ``t0 t1 ...``.

    Args:
        scale: Standard deviation of the weights: large enough that attention is far from uniform.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(random_state_dict(shape, seed, scale), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config_of(shape)))
    tokenizer = Tokenizer(WordLevel({f"t{token}": token for token in range(shape.d_vocab)}, unk_token="t0"))  # noqa: S106
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "t0", "eos_token": "t0"})
    )
    return folder


def config_of(shape: Architecture) -> dict[str, object]:
    """The folder's ``config.json``."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_layer": shape.n_layers,
        "n_head": shape.n_heads,
        "n_embd": shape.d_model,
        "n_inner": None if shape.d_mlp == 4 * shape.d_model else shape.d_mlp,
        "n_positions": shape.n_ctx,
        "vocab_size": shape.d_vocab,
        "layer_norm_epsilon": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }


def random_state_dict(shape: Architecture, seed: int, scale: float) -> dict[str, np.ndarray]:
    """Tensors under transformers' names; a GPT-2 stores each weight as [in, out]."""
    random = np.random.default_rng(seed)

    def normal(*size: int, mean: float = 0.0) -> np.ndarray:
        return random.normal(mean, scale, size).astype(np.float32)

    def layer_norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": normal(shape.d_model, mean=1.0), f"{name}.bias": normal(shape.d_model)}

    def linear(name: str, n_in: int, n_out: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": normal(n_in, n_out), f"{name}.bias": normal(n_out)}

    state = {"transformer.wte.weight": normal(shape.d_vocab, shape.d_model)}
    state["transformer.wpe.weight"] = normal(shape.n_ctx, shape.d_model)
    for layer in range(shape.n_layers):
        block = f"transformer.h.{layer}"
        state |= layer_norm(f"{block}.ln_1") | layer_norm(f"{block}.ln_2")
        state |= linear(f"{block}.attn.c_attn", shape.d_model, 3 * shape.d_model)
        state |= linear(f"{block}.attn.c_proj", shape.d_model, shape.d_model)
        state |= linear(f"{block}.mlp.c_fc", shape.d_model, shape.d_mlp)
        state |= linear(f"{block}.mlp.c_proj", shape.d_mlp, shape.d_model)
    return state | layer_norm("transformer.ln_f")
