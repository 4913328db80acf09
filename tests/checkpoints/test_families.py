"""Every family: an architecture that means what transformers means by the same config.json, and its tensors."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration
from checkpoints.weights import check_values, check_weights
from planning.architecture import Rotary
from planning.processing_flags import inapplicable_flags
from tests.tiny_families import CASES, tiny_model, write_family_folder


def changed(folder: Path, case: str, **changes: Any) -> Path:
    """The case's config.json with other values; None with the name ``drop_`` before it leaves a key out."""
    write_family_folder(folder, case)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    dropped = {name.removeprefix("drop_") for name in changes if name.startswith("drop_")}
    kept = {name: value for name, value in config.items() if name not in dropped}
    path.write_text(json.dumps(kept | {name: value for name, value in changes.items() if not name.startswith("drop_")}))
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_folder_that_transformers_saved_is_accepted(case: str, tmp_path: Path) -> None:
    """Names and shapes of all tensors are those that transformers writes, none more and none less."""
    write_family_folder(tmp_path, case)
    check_weights(tmp_path, configuration(tmp_path))
    check_values(tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_the_sizes_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    """An absent key means the family's default in transformers, not GPT-2's."""
    model: Any = write_family_folder(tmp_path, case)
    found, config = configuration(tmp_path).architecture, model.config
    assert found.family == config.model_type
    assert (found.n_layers, found.n_heads) == (config.num_hidden_layers, config.num_attention_heads)
    assert (found.d_model, found.n_ctx, found.d_vocab) == (config.hidden_size, 12 if "longrope" in case else 16, 23)
    assert found.n_kv_heads == (getattr(config, "num_key_value_heads", None) or found.n_heads) or "neox" in case
    eps = next(module.eps if hasattr(module, "eps") else module.variance_epsilon for module in norms(model))
    assert found.eps == pytest.approx(eps, rel=1e-6)


def norms(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if "Norm" in type(module).__name__]


ROTARY = [case for case in CASES if not case.startswith(("gpt_neo,", "opt", "gptj")) and case != "gpt_neo"]


@pytest.mark.parametrize("case", ROTARY)
def test_rotary_frequencies_are_those_of_transformers(case: str, tmp_path: Path) -> None:
    """To the last place of float32, or nearly."""
    model = write_family_folder(tmp_path, case)
    found = configuration(tmp_path).architecture
    module: Any = next(part for part in model.modules() if "RotaryEmbedding" in type(part).__name__)
    if case == "gemma3_text":
        assert_same(found.rotary, module.full_attention_inv_freq, module.full_attention_attention_scaling)
        assert_same(found.local_rotary, module.sliding_attention_inv_freq, module.sliding_attention_attention_scaling)
    else:
        assert_same(found.rotary, module.inv_freq, module.attention_scaling)
        assert found.local_rotary is None


def assert_same(found: Rotary | None, frequencies: torch.Tensor, factor: float) -> None:
    assert found is not None
    torch.testing.assert_close(torch.tensor(found.frequencies), frequencies, rtol=2e-7, atol=0)
    assert found.factor == pytest.approx(factor, rel=1e-12)


def test_gpt_j_rotates_neighbours_by_its_own_table(tmp_path: Path) -> None:
    """Its code is older than transformers' rotary modules: sines come before cosines."""
    model: Any = write_family_folder(tmp_path, "gptj")
    found = configuration(tmp_path).architecture.rotary
    assert found is not None and found.is_interleaved and found.n_dims == 4
    angles = torch.arange(16.0)[:, None] * torch.tensor(found.frequencies)
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    torch.testing.assert_close(table, model.transformer.h[0].attn.embed_positions)


def test_particulars_are_those_of_the_family(tmp_path: Path) -> None:
    """What the graph and the engine ask of the record."""
    found = {}
    for case in CASES:
        write_family_folder(tmp_path / case, case)
        found[case] = configuration(tmp_path / case).architecture
    assert {case for case, one in found.items() if one.is_parallel} == {"gpt_neox", "gpt_neox, linear", "gptj", "phi"}
    assert {case for case, one in found.items() if one.has_post_norms} == {"gemma2", "gemma3_text"}
    assert {case for case, one in found.items() if one.has_qk_norms} == {"qwen3", "gemma3_text"}
    assert {case for case, one in found.items() if one.rotary is None} == {"gpt_neo", "opt", "opt, no biases"}
    assert {case for case, one in found.items() if not one.is_gated} == {
        case for case, one in found.items() if one.norm == "layer_norm"
    }
    assert {case: one.windows for case, one in found.items() if one.windows} == {
        "gpt_neo": (None, 3),
        "mistral": (3, 3),
        "qwen2, window": (None, 3),
        "phi3": (4, 4),
        "gemma2": (3, None),
        "gemma3_text": (3, None, 3),
    }
    assert found["gpt_neo"].attention_divisor == 1
    assert found["gemma2"].attention_divisor == pytest.approx(7**0.5)
    assert (found["gemma2"].attention_cap, found["gemma2"].logit_cap) == (2.0, 3.0)
    activations = {case: found[case].activation for case in ("gpt_neo", "gpt_neox", "opt", "llama", "gemma", "phi")}
    assert list(activations.values()) == ["gelu_tanh", "gelu", "relu", "silu", "gelu_tanh", "gelu_tanh"]


def test_an_absent_key_means_what_it_means_in_transformers(tmp_path: Path) -> None:
    """Mistral has 8 key-value heads and a window of 4096 unless it says otherwise; Gemma's heads are 256 wide."""
    mistral = changed(
        tmp_path / "mistral", "mistral", drop_num_key_value_heads=1, drop_sliding_window=1, num_attention_heads=16
    )
    found = configuration(mistral).architecture
    assert (found.n_kv_heads, found.windows) == (8, (4096, 4096))
    gemma = changed(tmp_path / "gemma", "gemma2", drop_head_dim=1, drop_layer_types=1, drop_final_logit_softcapping=1)
    found = configuration(gemma).architecture
    assert (found.d_head, found.windows, found.logit_cap) == (256, (3, None), 30.0)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"mlp_bias": True}, "weights are missing, among them layers.0.mlp.gate_proj.bias"),
    ("llama", {"hidden_act": "xielu"}, "hidden_act is 'xielu'"),
    ("llama", {"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "scaled by 'longrope'"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
    ("llama", {"num_local_experts": 8}, "8 experts"),
    ("llama", {"quantization_config": {"bits": 4}}, "quantised"),
    ("llama", {"drop_head_dim": 1, "hidden_size": 18}, "hidden_size 18 is not a multiple of num_attention_heads 4"),
    ("llama", {"drop_head_dim": 1, "hidden_size": 10**12}, "dimensions would be rotated"),
    ("llama", {"intermediate_size": 10**12}, "has the shape"),
    ("gemma2", {"num_hidden_layers": 10**12}, "must be an integer from 1 to 4096"),
    ("gpt_neo", {"attention_types": [[["global"], 10**12]], "drop_attention_layers": 1}, "attention_types names 10000"),
    ("llama", {"num_key_value_heads": 3}, "4 heads cannot share 3"),
    ("llama", {"head_dim": 7}, "q_proj.weight in model.safetensors has the shape"),
    ("phi3", {"rope_scaling": {"type": "ntk", "factor": 2.0}}, "scaled by 'ntk'"),
    ("phi3", {"rope_scaling": {"type": "su"}}, "config.json has no 'short_factor'"),
    ("qwen2", {"layer_types": ["full_attention", "chunked_attention"]}, "chunked_attention"),
    ("qwen2", {"layer_types": ["full_attention", "sliding_attention"]}, "its sliding_window is None"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
    ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
    ("gpt_neo", {"attention_types": [[["global", "sparse"], 1]], "drop_attention_layers": 1}, "attention_types name"),
    ("gpt_neo", {"num_heads": 3, "drop_num_attention_heads": 1}, "not a multiple"),
    ("gptj", {"rotary_dim": None}, "rotary_dim is None"),
    ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before is False"),
    ("opt", {"word_embed_proj_dim": 4}, "word_embed_proj_dim is 4"),
    ("llama", {"auto_map": {"AutoModelForCausalLM": "modeling.LlamaForCausalLM"}}, "code of its own (auto_map)"),
    ("phi", {"qk_layernorm": True}, "qk_layernorm is True"),
]


@pytest.mark.parametrize(("case", "changes", "message"), REFUSED)
def test_what_changes_the_function_is_refused_by_name(
    case: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Never ignored: the numbers would be another model's."""
    folder = changed(tmp_path, case, **changes)
    with pytest.raises(UnusableCheckpoint) as caught:
        check_weights(folder, configuration(folder))
    assert message in caught.value.reason


def test_the_code_that_phi_3_names_is_not_needed(tmp_path: Path) -> None:
    """Its authors' checkpoints name their own code, which transformers has taken over; it is never run."""
    folder = changed(tmp_path, "phi3", auto_map={"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"})
    check_weights(folder, configuration(folder))


def test_flags_that_would_change_the_function_are_named_with_the_reason(tmp_path: Path) -> None:
    """Requests that ask for them are refused with these words."""
    flags = {}
    for case in ("opt", "gpt_neox", "llama", "qwen2", "gemma2"):
        write_family_folder(tmp_path / case, case)
        flags[case] = inapplicable_flags(configuration(tmp_path / case).architecture)
    assert flags["opt"] == {}
    assert set(flags["gpt_neox"]) == {"refactor_factored_attn_matrices"}
    assert set(flags["qwen2"]) == {"center_writing_weights", "refactor_factored_attn_matrices"}
    assert set(flags["llama"]) == {*flags["qwen2"], "fold_value_biases"}
    assert "RMSNorm" in flags["llama"]["center_writing_weights"]
    assert "caps its logits at 3" in flags["gemma2"]["center_unembed"]


def test_the_tiny_models_are_not_degenerate() -> None:
    """Or agreement would mean little: every case's logits differ between tokens and positions."""
    for case in ("llama", "gemma3_text"):
        logits = tiny_model(case)(torch.arange(8)[None]).logits[0]
        assert logits.std(dim=-1).min() > 0.01
