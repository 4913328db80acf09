"""Families with LayerNorm: GPT-Neo, GPT-NeoX (Pythia), GPT-J, OPT and Phi."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from checkpoints.families.gpt2 import ALIASES
from checkpoints.families.layout import Layout
from checkpoints.families.llama import groups
from checkpoints.families.record import Config, Family, Part, Rule, classes
from checkpoints.families.rope import inverse, rope_parameters, rotary
from checkpoints.families.sizes import activation, counted, head_size, is_off, is_on, layers
from checkpoints.files import UnusableCheckpoint
from planning.architecture import Architecture, Rotary

NEURONS = frozenset({"in", "out"})
NEO_LAYOUT = Layout(
    embedding="wte",
    block="h",
    linear={
        "Q": "attn.attention.q_proj",
        "K": "attn.attention.k_proj",
        "V": "attn.attention.v_proj",
        "O": "attn.attention.out_proj",
        "in": "mlp.c_fc",
        "out": "mlp.c_proj",
    },
    norms={"ln1": "ln_1", "ln2": "ln_2"},
    final_norm="ln_f",
    positions="wpe",
)
NEOX_LAYOUT = Layout(
    embedding="embed_in",
    block="layers",
    linear={
        "QKV_by_head": "attention.query_key_value",
        "O": "attention.dense",
        "in": "mlp.dense_h_to_4h",
        "out": "mlp.dense_4h_to_h",
    },
    norms={"ln1": "input_layernorm", "ln2": "post_attention_layernorm"},
    final_norm="final_layer_norm",
)
GPTJ_LAYOUT = Layout(
    embedding="wte",
    block="h",
    linear={
        "Q": "attn.q_proj",
        "K": "attn.k_proj",
        "V": "attn.v_proj",
        "O": "attn.out_proj",
        "in": "mlp.fc_in",
        "out": "mlp.fc_out",
    },
    norms={"ln1 ln2": "ln_1"},
    final_norm="ln_f",
    has_unembedding_bias=True,
)
OPT_LAYOUT = Layout(
    embedding="embed_tokens",
    block="layers",
    linear={
        "Q": "self_attn.q_proj",
        "K": "self_attn.k_proj",
        "V": "self_attn.v_proj",
        "O": "self_attn.out_proj",
        "in": "fc1",
        "out": "fc2",
    },
    norms={"ln1": "self_attn_layer_norm", "ln2": "final_layer_norm"},
    final_norm="final_layer_norm",
    positions="embed_positions",
    first_position=2,
)
PHI_LAYOUT = Layout(
    embedding="embed_tokens",
    block="layers",
    linear={
        "Q": "self_attn.q_proj",
        "K": "self_attn.k_proj",
        "V": "self_attn.v_proj",
        "O": "self_attn.dense",
        "in": "mlp.fc1",
        "out": "mlp.fc2",
    },
    norms={"ln1 ln2": "input_layernorm"},
    final_norm="final_layernorm",
    has_unembedding_bias=True,
)
ALL_BIASES = frozenset({"Q", "K", "V", "QKV_by_head", "O", "in", "out"})


def _decoder(config: Config, width: int, n_heads: int, **particulars: Any) -> Architecture:
    return Architecture(
        n_heads=n_heads,
        d_model=width,
        d_head=head_size(width, n_heads),
        d_vocab=config["vocab_size"],
        family=config["model_type"],
        norm="layer_norm",
        **particulars,
    )


def _gpt_neo(config: Config) -> Architecture:
    width, n_layers = config["hidden_size"], layers(config, "num_layers")
    return _decoder(
        config,
        width,
        config["num_heads"],
        n_layers=n_layers,
        d_mlp=config.get("intermediate_size") or 4 * width,
        n_ctx=config.get("max_position_embeddings", 2048),
        eps=float(config.get("layer_norm_epsilon", 1e-5)),
        activation=activation(config, "activation_function", "gelu_new"),
        windows=_neo_windows(config, n_layers),
        attention_divisor=1.0,
    )


def _neo_windows(config: Config, n_layers: int) -> tuple[int | None, ...]:
    """Of the local layers that ``attention_types`` states in the form ``[[["global", "local"], 12]]``."""
    stated: Sequence[Any] = config.get("attention_types") or [[["global", "local"], 12]]
    named = sum(times * len(pattern) for pattern, times in stated)
    if named != n_layers:
        raise ValueError(f"attention_types names {named} layers, and num_layers is {n_layers}")
    kinds = [kind for pattern, times in stated for _ in range(times) for kind in pattern]
    if config.get("attention_layers", kinds) != kinds:
        raise UnusableCheckpoint("its attention_layers and attention_types are not the same")
    if unknown := sorted({str(kind) for kind in kinds} - {"global", "local"}):
        raise UnusableCheckpoint(f"its attention_types name {', '.join(unknown)}, and only global and local can be run")
    window = counted("window_size", config.get("window_size", 256))
    found = tuple(window if kind == "local" else None for kind in kinds)
    return found if "local" in kinds else ()


def _gpt_neox(config: Config) -> Architecture:
    width, n_heads = config["hidden_size"], config["num_attention_heads"]
    n_ctx, d_head = config.get("max_position_embeddings", 2048), head_size(width, n_heads)
    found = rope_parameters(config, config.get("rotary_emb_base", 10000.0), config.get("rotary_pct", 0.25))
    return _decoder(
        config,
        width,
        n_heads,
        n_layers=layers(config),
        d_mlp=config["intermediate_size"],
        n_ctx=n_ctx,
        eps=float(config.get("layer_norm_eps", 1e-5)),
        activation=activation(config, "hidden_act", "gelu"),
        is_parallel=bool(config.get("use_parallel_residual", True)),
        rotary=rotary(found, d_head, n_ctx),
    )


def _gptj(config: Config) -> Architecture:
    width, n_heads = config["n_embd"], config["n_head"]
    n_dims = config.get("rotary_dim", 64)
    if type(n_dims) is not int or n_dims % 2 or not 0 < n_dims <= head_size(width, n_heads):
        raise UnusableCheckpoint(f"its rotary_dim is {n_dims!r}: it must be even, and at most the width of a head")
    exponents = np.arange(0, n_dims, 2) / np.float64(n_dims)
    frequencies = inverse((10000.0 ** exponents.astype(np.float32).astype(np.float64)).astype(np.float32))
    return _decoder(
        config,
        width,
        n_heads,
        n_layers=layers(config, "n_layer"),
        d_mlp=config.get("n_inner") or 4 * width,
        n_ctx=config.get("n_positions", 2048),
        eps=float(config.get("layer_norm_epsilon", 1e-5)),
        activation=activation(config, "activation_function", "gelu_new"),
        is_parallel=True,
        rotary=Rotary(tuple(frequencies.tolist()), is_interleaved=True),
    )


def _opt(config: Config) -> Architecture:
    width = config["hidden_size"]
    if config.get("word_embed_proj_dim") not in (None, width):
        raise UnusableCheckpoint(
            f"its word_embed_proj_dim is {config['word_embed_proj_dim']!r}: embeddings of another width than the "
            "residual stream cannot be run"
        )
    return _decoder(
        config,
        width,
        config["num_attention_heads"],
        n_layers=layers(config),
        d_mlp=config["ffn_dim"],
        n_ctx=config.get("max_position_embeddings", 2048),
        activation=activation(config, "activation_function", "relu"),
    )


def _phi(config: Config) -> Architecture:
    width, n_heads = config["hidden_size"], config["num_attention_heads"]
    n_ctx, d_head = config.get("max_position_embeddings", 2048), head_size(width, n_heads)
    return _decoder(
        config,
        width,
        n_heads,
        n_kv_heads=groups(config),
        n_layers=layers(config),
        d_mlp=config["intermediate_size"],
        n_ctx=n_ctx,
        eps=float(config.get("layer_norm_eps", 1e-5)),
        activation=activation(config, "hidden_act", "gelu_new"),
        is_parallel=True,
        rotary=rotary(rope_parameters(config, 10000.0, 0.5), d_head, n_ctx),
    )


def _neo_tensors(config: Config, architecture: Architecture) -> Iterator[Part]:
    return NEO_LAYOUT.parts(architecture, NEURONS | {"O"})


def _neox_tensors(config: Config, architecture: Architecture) -> Iterator[Part]:
    return NEOX_LAYOUT.parts(architecture, ALL_BIASES if config.get("attention_bias", True) else NEURONS)


def _gptj_tensors(config: Config, architecture: Architecture) -> Iterator[Part]:
    return GPTJ_LAYOUT.parts(architecture, NEURONS)


def _opt_tensors(config: Config, architecture: Architecture) -> Iterator[Part]:
    return OPT_LAYOUT.parts(architecture, ALL_BIASES if config.get("enable_bias", True) else frozenset())


def _phi_tensors(config: Config, architecture: Architecture) -> Iterator[Part]:
    return PHI_LAYOUT.parts(architecture, ALL_BIASES)


HEAD_DIM = Rule("head_dim", None, (None,), "its head_dim is {value}, and this family's heads divide its width")
NEO_FAMILIES = (
    Family(
        model_type="gpt_neo",
        title="GPT-Neo",
        architectures=classes("GPTNeo"),
        aliases={"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
        architecture=_gpt_neo,
        eps_key="layer_norm_epsilon",
        tensors=_neo_tensors,
        tied=("wte.weight", "lm_head.weight"),
        is_tied_by_default=True,
        prefixes=("transformer.",),
        unused=re.compile(r"h\.\d+\.attn\.attention\.(bias|masked_bias)"),
    ),
    Family(
        model_type="gpt_neox",
        title="GPT-NeoX",
        architectures=classes("GPTNeoX"),
        rules=(HEAD_DIM,),
        architecture=_gpt_neox,
        eps_key="layer_norm_eps",
        tensors=_neox_tensors,
        tied=("embed_in.weight", "embed_out.weight"),
        prefixes=("gpt_neox.",),
        unused=re.compile(r"(layers\.\d+\.attention\.)?(bias|masked_bias|rotary_emb\.inv_freq)"),
    ),
    Family(
        model_type="gptj",
        title="GPT-J",
        architectures=classes("GPTJ"),
        aliases=ALIASES,
        architecture=_gptj,
        eps_key="layer_norm_epsilon",
        tensors=_gptj_tensors,
        tied=("wte.weight", "lm_head.weight"),
        prefixes=("transformer.",),
        unused=re.compile(r"h\.\d+\.attn\.(bias|masked_bias|embed_positions)"),
    ),
    Family(
        model_type="opt",
        title="OPT",
        architectures=classes("OPT"),
        rules=(
            is_on("do_layer_norm_before", "norms after attention and neurons, as in OPT-350M, cannot be run"),
            is_on("layer_norm_elementwise_affine", "norms without gains cannot be run"),
            is_off("_remove_final_layer_norm", "without its last norm it cannot be run"),
        ),
        architecture=_opt,
        eps_key="layer_norm_eps",
        tensors=_opt_tensors,
        is_tied_by_default=True,
        prefixes=("model.decoder.", "decoder."),
        unused=re.compile(r"(?!)"),
    ),
    Family(
        model_type="phi",
        title="Phi",
        architectures=classes("Phi"),
        rules=(is_off("qk_layernorm", "LayerNorm of queries and keys cannot be run"), HEAD_DIM),
        architecture=_phi,
        eps_key="layer_norm_eps",
        tensors=_phi_tensors,
    ),
)
