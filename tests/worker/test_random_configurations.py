"""Configurations that nobody chose: of every family, clean logits equal transformers' own."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from tests.clean_runs import clean_logits
from tests.tiny_families import CASES, write_family_folder
from worker.models.loading import load_model

N_CTX, D_VOCAB = 16, 23
ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
KINDS = ("full_attention", "sliding_attention")

Draw = st.DrawFn


def _common(draw: Draw) -> dict[str, Any]:
    groups, group_size = draw(st.sampled_from([(1, 2), (2, 1), (2, 2), (1, 3), (3, 1)]))
    heads = groups * group_size
    return {
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "hidden_size": heads * draw(st.sampled_from([4, 8])),
        "intermediate_size": draw(st.integers(5, 24)),
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-3])),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-3])),
        "rope_theta": draw(st.sampled_from([100.0, 10000.0])),
        "tie_word_embeddings": draw(st.booleans()),
    }


@st.composite
def _llama(draw: Draw) -> dict[str, Any]:
    scalings = (None, {"rope_type": "linear", "factor": 3.0}, {"rope_type": "yarn", "factor": 2.0})
    return _common(draw) | {
        "hidden_act": draw(st.sampled_from(ACTIVATIONS)),
        "attention_bias": draw(st.booleans()),
        "head_dim": draw(st.sampled_from([None, 4, 10])),
        "rope_scaling": draw(st.sampled_from(scalings)),
    }


@st.composite
def _windowed(draw: Draw) -> dict[str, Any]:
    """Of Mistral, Qwen and Phi-3; a family ignores what it has no key for."""
    common = _common(draw)
    layers = common["num_hidden_layers"]
    window = draw(st.integers(1, 20))
    return common | {
        "hidden_act": draw(st.sampled_from(ACTIVATIONS)),
        "sliding_window": window,
        "use_sliding_window": draw(st.booleans()),
        "max_window_layers": draw(st.integers(0, layers)),
    }


@st.composite
def _parallel(draw: Draw) -> dict[str, Any]:
    """Of GPT-NeoX and Phi, whose heads are all their own in the former."""
    common = _common(draw)
    return common | {
        "hidden_act": draw(st.sampled_from(ACTIVATIONS)),
        "use_parallel_residual": draw(st.booleans()),
        "attention_bias": draw(st.booleans()),
        "rotary_pct": 0.5,
        "partial_rotary_factor": draw(st.sampled_from([0.5, 1.0])),
    }


@st.composite
def _gemma(draw: Draw) -> dict[str, Any]:
    common = _common(draw)
    layers = common["num_hidden_layers"]
    return {name: value for name, value in common.items() if name != "rope_theta"} | {
        "head_dim": draw(st.sampled_from([4, 10])),
        "attention_bias": draw(st.booleans()),
        "sliding_window": draw(st.integers(1, 20)),
        "layer_types": draw(st.lists(st.sampled_from(KINDS), min_size=layers, max_size=layers)),
        "query_pre_attn_scalar": draw(st.sampled_from([4, 9])),
        "final_logit_softcapping": draw(st.sampled_from([None, 5.0])),
    }


@st.composite
def _absolute(draw: Draw) -> dict[str, Any]:
    """Of GPT-Neo, GPT-J and OPT, under each family's names."""
    layers, heads, width = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([4, 8]))
    kinds = draw(st.lists(st.sampled_from(["global", "local"]), min_size=layers, max_size=layers))
    neo = {"num_layers": layers, "num_heads": heads, "hidden_size": heads * width, "attention_types": [[kinds, 1]]}
    return {
        "gpt_neo": neo | {"window_size": draw(st.integers(1, 20)), "intermediate_size": draw(st.integers(5, 24))},
        "gptj": {
            "n_layer": layers,
            "n_head": heads,
            "n_embd": heads * width,
            "rotary_dim": draw(st.sampled_from([2, 4])),
        },
        "opt": {
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "hidden_size": heads * width,
            "word_embed_proj_dim": heads * width,
            "ffn_dim": draw(st.integers(5, 24)),
            "enable_bias": draw(st.booleans()),
        },
    }


def deviation(case: str, changes: dict[str, Any], seed: int) -> float:
    """Of our logits from transformers', relative to the largest; up to the shift of a centred unembedding."""
    with tempfile.TemporaryDirectory() as place:
        model = write_family_folder(Path(place) / "model", case, seed, changes=changes)
        registry = {"tiny": ModelOrigin(name="tiny", folder=f"{place}/model")}
        weights = load_model("tiny", ModelSpec(name="tiny"), registry, "cpu", Path(place) / "cache").weights
    tokens = torch.randint(D_VOCAB, (2, N_CTX), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected, found = model(tokens).logits, clean_logits(weights, tokens)
    if weights.architecture.logit_cap is None:
        expected = expected - expected.mean(dim=-1, keepdim=True)
    return ((found - expected).abs().max() / expected.abs().max()).item()


FAMILIES = {
    "llama": _llama(),
    **dict.fromkeys(("mistral", "qwen2", "qwen3", "phi3"), _windowed()),
    **dict.fromkeys(("gpt_neox", "phi"), _parallel()),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), _gemma()),
    **dict.fromkeys(("gpt_neo", "gptj", "opt"), _absolute()),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_configuration_computes_what_transformers_computes(family: str, data: st.DataObject) -> None:
    """With every flag that applies; prompts are longer than most windows."""
    assert family in CASES
    drawn = data.draw(FAMILIES[family])
    assert deviation(family, drawn.get(family, drawn), data.draw(st.integers(0, 1000))) <= 1e-5
