"""Configs of tiny models, drawn: what a checkpoint of each family may say, in transformers' own keys."""

from typing import Any

from hypothesis import strategies as st

Config = dict[str, Any]
N_CTX = 16
FULL, SLIDING = "full_attention", "sliding_attention"
EPS = st.sampled_from([1e-6, 1e-5, 1e-2])
GATES = st.sampled_from(["silu", "gelu", "relu", "gelu_pytorch_tanh"])
NEURONS = st.sampled_from(["gelu", "gelu_new", "relu", "silu"])
THETA = st.sampled_from([10.0, 500.0, 10000.0])
N_LAYERS = st.sampled_from([3, 2, 4, 1])
WINDOW = st.integers(1, 6)
ATTENDED = st.sampled_from([FULL, SLIDING])


def _sizes(draw: st.DrawFn) -> Config:
    heads = draw(st.sampled_from([1, 2, 3, 4]))
    return {
        "vocab_size": draw(st.integers(19, 27)),
        "max_position_embeddings": N_CTX,
        "num_hidden_layers": draw(N_LAYERS),
        "num_attention_heads": heads,
        "hidden_size": heads * draw(st.sampled_from([6, 8, 10])) * (2 if heads == 1 else 1),
        "intermediate_size": draw(st.integers(3, 20)),
        "tie_word_embeddings": draw(st.booleans()),
        "pad_token_id": 0,
    }


def _grouped(draw: st.DrawFn) -> Config:
    sizes = _sizes(draw)
    heads = sizes["num_attention_heads"] = draw(st.sampled_from([1, 2, 3, 4, 6]))
    sizes["hidden_size"] = heads * draw(st.sampled_from([6, 8] if heads < 4 else [4, 6])) * (2 if heads == 1 else 1)
    sizes["num_key_value_heads"] = draw(st.sampled_from([n for n in (1, 2, 3, 4, 6) if heads % n == 0]))
    return sizes


def _rms(draw: st.DrawFn) -> Config:
    config = {**_grouped(draw), "rms_norm_eps": draw(EPS)}
    return {**config, "head_dim": draw(st.sampled_from([4, 6, 10]))} if draw(st.booleans()) else config


@st.composite
def rope(draw: st.DrawFn) -> Config:
    """How positions rotate: plainly, or scaled in one of the ways that several families share."""
    kind = draw(st.sampled_from(["default", "linear", "dynamic", "llama3", "yarn"]))
    found: Config = {"rope_type": kind, "rope_theta": draw(THETA)}
    if kind != "default":
        found["factor"] = draw(st.sampled_from([2.0, 4.5]))
    if kind == "llama3":
        found |= {"low_freq_factor": 1.0, "high_freq_factor": draw(st.sampled_from([2.0, 4.0]))}
    if kind in ("llama3", "yarn"):
        found["original_max_position_embeddings"] = draw(st.sampled_from([4, 8]))
    if kind == "yarn":
        found |= draw(
            st.sampled_from(
                [
                    {},
                    {"attention_factor": 1.3},
                    {"mscale": 0.7, "mscale_all_dim": 0.4},
                    {"beta_fast": 4, "beta_slow": 2},
                ]
            )
        )
    return found


def _kinds(draw: st.DrawFn, n_layers: int) -> list[str]:
    return draw(st.lists(ATTENDED, min_size=n_layers, max_size=n_layers))


def _partial_rope(draw: st.DrawFn, sizes: Config, kind: Config | None = None) -> Config:
    """Of some of a head's dimensions."""
    d_head = sizes["hidden_size"] // sizes["num_attention_heads"]
    rotated = draw(st.sampled_from([n for n in (4, 6, d_head) if n <= d_head]))
    return {**(draw(rope()) if kind is None else kind), "partial_rotary_factor": rotated / d_head}


def _long_rope(draw: st.DrawFn, sizes: Config) -> Config:
    """Of some of a head's dimensions, plainly or each frequency by a factor of its own."""
    found = _partial_rope(draw, sizes, {"rope_type": "default", "rope_theta": draw(THETA)})
    pairs = int(sizes["hidden_size"] // sizes["num_attention_heads"] * found["partial_rotary_factor"]) // 2
    if draw(st.booleans()):
        factors = draw(st.lists(st.sampled_from([1.0, 1.3, 4.0]), min_size=pairs, max_size=pairs))
        found |= {"rope_type": "longrope", "short_factor": factors, "long_factor": [9.0] * pairs, "factor": 2.5}
    return found


@st.composite
def gpt_neo(draw: st.DrawFn) -> Config:
    sizes = _sizes(draw)
    n_layers, heads = sizes.pop("num_hidden_layers"), sizes.pop("num_attention_heads")
    sizes["intermediate_size"] = draw(st.sampled_from([None, sizes["intermediate_size"]]))
    kinds = draw(st.lists(st.sampled_from(["global", "local"]), min_size=n_layers, max_size=n_layers))
    return {
        **sizes,
        "num_layers": n_layers,
        "num_heads": heads,
        "attention_types": [[kinds, 1]],
        "window_size": draw(WINDOW),
        "activation_function": draw(NEURONS),
        "layer_norm_epsilon": draw(EPS),
    }


@st.composite
def gpt_neox(draw: st.DrawFn) -> Config:
    sizes = _sizes(draw)
    return {
        **sizes,
        "rope_parameters": _partial_rope(draw, sizes),
        "use_parallel_residual": draw(st.booleans()),
        "attention_bias": draw(st.booleans()),
        "hidden_act": draw(NEURONS),
        "layer_norm_eps": draw(EPS),
    }


@st.composite
def gptj(draw: st.DrawFn) -> Config:
    sizes = _sizes(draw)
    d_head = sizes["hidden_size"] // sizes["num_attention_heads"]
    return {
        "vocab_size": sizes["vocab_size"],
        "n_positions": N_CTX,
        "n_embd": sizes["hidden_size"],
        "n_layer": sizes["num_hidden_layers"],
        "n_head": sizes["num_attention_heads"],
        "n_inner": draw(st.sampled_from([None, sizes["intermediate_size"]])),
        "rotary_dim": draw(st.sampled_from([n for n in (2, 4, 6, d_head) if n <= d_head])),
        "activation_function": draw(NEURONS),
        "layer_norm_epsilon": draw(EPS),
        "tie_word_embeddings": False,
    }


@st.composite
def opt(draw: st.DrawFn) -> Config:
    sizes = _sizes(draw)
    return {
        **sizes,
        "ffn_dim": sizes.pop("intermediate_size"),
        "word_embed_proj_dim": sizes["hidden_size"],
        "enable_bias": draw(st.booleans()),
        "activation_function": draw(NEURONS),
    }


@st.composite
def phi(draw: st.DrawFn) -> Config:
    sizes = {**_grouped(draw), "tie_word_embeddings": False}
    parameters = _partial_rope(draw, sizes)
    return {**sizes, "rope_parameters": parameters, "hidden_act": draw(NEURONS), "layer_norm_eps": draw(EPS)}


@st.composite
def phi3(draw: st.DrawFn) -> Config:
    sizes = _grouped(draw)
    return {
        **sizes,
        "rms_norm_eps": draw(EPS),
        "rope_parameters": _long_rope(draw, sizes),
        "sliding_window": draw(st.none() | WINDOW),
        "original_max_position_embeddings": N_CTX,
        "hidden_act": draw(GATES),
    }


@st.composite
def llama(draw: st.DrawFn) -> Config:
    return {
        **_rms(draw),
        "rope_parameters": draw(rope()),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "hidden_act": draw(GATES),
    }


@st.composite
def mistral(draw: st.DrawFn) -> Config:
    return {**_rms(draw), "rope_parameters": draw(rope()), "sliding_window": draw(st.none() | WINDOW)}


@st.composite
def qwen2(draw: st.DrawFn) -> Config:
    sizes = _rms(draw)
    sizes.pop("head_dim", None)
    return {**sizes, **_qwen(draw, sizes["num_hidden_layers"])}


@st.composite
def qwen3(draw: st.DrawFn) -> Config:
    sizes = {"head_dim": 8, **_rms(draw)}
    return {**sizes, **_qwen(draw, sizes["num_hidden_layers"]), "attention_bias": draw(st.booleans())}


def _qwen(draw: st.DrawFn, n_layers: int) -> Config:
    config: Config = {"rope_parameters": draw(rope()), "use_sliding_window": draw(st.booleans())}
    config["sliding_window"] = draw(WINDOW)
    if config["use_sliding_window"] and draw(st.booleans()):
        return {**config, "layer_types": _kinds(draw, n_layers)}
    return {**config, "max_window_layers": draw(st.integers(0, n_layers))}


def _gemma(draw: st.DrawFn) -> Config:
    return {**_rms(draw), "head_dim": draw(st.sampled_from([4, 6, 10])), "attention_bias": draw(st.booleans())}


@st.composite
def gemma(draw: st.DrawFn) -> Config:
    return {**_gemma(draw), "rope_parameters": draw(rope())}


@st.composite
def gemma2(draw: st.DrawFn) -> Config:
    return {
        **_gemma(draw),
        **_later(draw),
        "rope_parameters": draw(rope()),
        "attn_logit_softcapping": draw(st.sampled_from([None, 2.0, 50.0])),
    }


@st.composite
def gemma3_text(draw: st.DrawFn) -> Config:
    config = {**_gemma(draw), **_later(draw)}
    if "layer_types" not in config:
        config["layer_types"] = _kinds(draw, config["num_hidden_layers"])
    return {**config, "rope_parameters": {FULL: draw(rope()), SLIDING: draw(rope())}}


def _later(draw: st.DrawFn) -> Config:
    config: Config = {
        "query_pre_attn_scalar": draw(st.sampled_from([4, 7, 36])),
        "sliding_window": draw(WINDOW),
        "final_logit_softcapping": draw(st.sampled_from([None, 3.0, 30.0])),
        "num_hidden_layers": draw(N_LAYERS),
    }
    return {**config, "layer_types": _kinds(draw, config["num_hidden_layers"])} if draw(st.booleans()) else config


CONFIGS = {
    "gpt_neo": gpt_neo(),
    "gpt_neox": gpt_neox(),
    "gptj": gptj(),
    "opt": opt(),
    "llama": llama(),
    "mistral": mistral(),
    "qwen2": qwen2(),
    "qwen3": qwen3(),
    "phi": phi(),
    "phi3": phi3(),
    "gemma": gemma(),
    "gemma2": gemma2(),
    "gemma3_text": gemma3_text(),
}
"""By ``model_type``."""
