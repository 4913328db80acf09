"""What a checkpoint says is honoured or refused by name: adapters, odd tensors, quantised and remote parts, values."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration, revision
from checkpoints.weights import check_values, check_weights
from tests.tiny_models import tiny_shape, write_gpt2_folder

Tensors = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound checkpoint, to be damaged."""
    return write_gpt2_folder(tmp_path / "model", tiny_shape())


def refusal(folder: Path) -> str:
    """Why the folder is refused."""

    def check() -> None:
        check_weights(folder, configuration(folder))
        check_values(folder)

    with pytest.raises(UnusableCheckpoint) as caught:
        check()
    assert str(folder) not in caught.value.reason  # clients read it
    return caught.value.reason


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(folder: Path, change: Callable[[Tensors], object]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: value.copy() for name, value in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def test_a_sound_folder_passes(folder: Path) -> None:
    """Or all other tests here would prove nothing."""
    check_weights(folder, configuration(folder))
    check_values(folder)


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_is_refused_beside_weights_and_alone(folder: Path, file: str, alone: bool) -> None:
    """transformers would apply it; the base model's numbers are not what the folder means."""
    (folder / file).write_text('{"peft_type": "LORA"}')
    if alone:
        (folder / "config.json").unlink()
        (folder / "model.safetensors").unlink()
    reason = refusal(folder)
    assert f"it holds an adapter ({file})" in reason and "merge_and_unload()" in reason


def test_a_tensor_of_another_shape_is_named_with_file_and_both_shapes(folder: Path) -> None:
    """The user must see which of the two is wrong."""
    change_tensors(folder, lambda tensors: tensors.update({"transformer.wpe.weight": np.zeros((13, 8), np.float32)}))
    assert refusal(folder) == (
        "its weights do not fit its config.json: wpe.weight in model.safetensors has the shape [13, 8], "
        "and config.json asks for [12, 8]"
    )


def test_missing_tensors_are_named(folder: Path) -> None:
    """transformers would fill them with random numbers."""
    change_tensors(folder, lambda tensors: tensors.pop("transformer.h.1.attn.c_proj.bias"))
    assert refusal(folder) == "weights are missing, among them h.1.attn.c_proj.bias"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("transformer.h.0.attn.c_attn.lora_A.weight", "merge the adapter"), ("v_head.summary.weight", "")],
)
def test_unexpected_tensors_are_named(folder: Path, name: str, hint: str) -> None:
    """What nothing would read is not left out in silence."""
    change_tensors(folder, lambda tensors: tensors.update({name: np.zeros((2, 8), np.float32)}))
    reason = refusal(folder)
    assert f"model.safetensors holds {name.removeprefix('transformer.')}, which a GPT-2 does not have" in reason
    assert hint in reason


def test_masks_that_older_programs_stored_are_no_fault(folder: Path) -> None:
    """The published GPT-2 has them."""
    mask = np.ones((1, 1, 12, 12), np.uint8)
    change_tensors(folder, lambda tensors: tensors.update({"transformer.h.0.attn.bias": mask}))
    check_weights(folder, configuration(folder))


def test_names_without_the_usual_prefix_are_the_same_tensors(folder: Path) -> None:
    """The published GPT-2 has none."""
    path = folder / "model.safetensors"
    save_file({name.removeprefix("transformer."): value for name, value in load_file(path).items()}, path)
    check_weights(folder, configuration(folder))


def test_a_tied_unembedding_that_is_another_tensor_is_refused(folder: Path) -> None:
    """transformers would take one of the two; which is meant, nobody knows."""
    change_tensors(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"] + 1}))
    assert 'write "tie_word_embeddings": false if both are meant' in refusal(folder)
    change_config(folder, tie_word_embeddings=False)
    check_weights(folder, configuration(folder))
    change_tensors(folder, lambda tensors: tensors.pop("lm_head.weight"))
    assert refusal(folder) == "weights are missing, among them lm_head.weight"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "it is quantised (quantization_config)"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}, "code of its own (auto_map), which is never run"),
        ({"num_local_experts": 8}, "it has 8 experts (num_local_experts)"),
        ({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM (mixtral)"),
        ({"pruned_heads": {"0": [1]}}, "some of its heads are pruned"),
        ({"scale_attn_by_inverse_layer_idx": True}, "not scaled by 1/sqrt(d_head)"),
        ({"num_attention_heads": 4}, "n_head 2 and num_attention_heads 4"),
        ({"n_head": 3}, "n_embd 8 is not a multiple of n_head 3"),
        ({"layer_norm_epsilon": float("nan")}, "layer_norm_epsilon nan"),
        ({"n_layer": 10**9}, "n_layer is 1000000000, and must be an integer from 1 to 4096"),
        ({"n_layer": 4}, "weights are missing, among them h.2.ln_1.weight"),
        ({"n_layer": 0}, "config.json is damaged"),
    ],
)
def test_what_changes_the_function_is_refused_by_name(folder: Path, changes: dict[str, Any], reason: str) -> None:
    """Each of these would give numbers of another model."""
    change_config(folder, **changes)
    assert reason in refusal(folder)


def test_a_quantised_tensor_is_named_with_its_type(folder: Path) -> None:
    """Read as it stands it would be nonsense."""
    change_tensors(folder, lambda tensors: tensors.update({"transformer.wte.weight": np.zeros((23, 8), np.int8)}))
    assert "wte.weight in model.safetensors is of type I8: quantised weights are not loaded" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named_by_tensor(folder: Path, dtype: torch.dtype, wrong: float) -> None:
    """A training run that diverged; the device is not to blame."""
    path = folder / "model.safetensors"
    tensors = {name: torch.from_numpy(value).to(dtype) for name, value in load_file(path).items()}
    save_torch(tensors, path)
    check_values(folder)
    tensors["transformer.h.1.mlp.c_fc.weight"][7, 31] = wrong
    save_torch(tensors, path)
    assert refusal(folder) == "model.safetensors holds NaN or infinite values in transformer.h.1.mlp.c_fc.weight"


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_pipe, make_device_link, make_folder])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "extra.safetensors", "tokenizer.json"])
def test_only_regular_files_are_read(folder: Path, file: str, make: Callable[[Path], None]) -> None:
    """Opening a pipe waits for ever, and a device never ends."""
    (folder / file).unlink(missing_ok=True)
    make(folder / file)
    told: list[str] = []

    def read() -> None:
        try:
            check_weights(folder, configuration(folder))
            revision(folder)
        except UnusableCheckpoint as exc:
            told.append(exc.reason)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(5)
    assert told == [f"{file} is not a regular file"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "config.json is nested deeper than 32 levels"),
        (b'{"model_type": "gpt2", "x": ' + b"[" * 40 + b"]" * 40 + b"}", "config.json is nested deeper than 32 levels"),
        (b" " * (17 << 20), "config.json has more than 16 MiB"),
        (b'{"model_type": ["gpt2"]}', "its architecture is not named (['gpt2'])"),
        (b'{"n_layer": ' + b"9" * 5000 + b"}", "config.json is damaged"),
        (b"\xff\xfe", "config.json is damaged"),
    ],
    ids=["deep", "rather deep", "large", "list", "digits", "bytes"],
)
def test_a_hostile_config_is_refused_in_words(folder: Path, content: bytes, reason: str) -> None:
    """Checkpoints come from others; one of them must not end the process, or hold it up."""
    (folder / "config.json").write_bytes(content)
    assert reason in refusal(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"transformer.wte.weight": {"dtype": "F32", "shape": [23, 8], "data_offsets": [0, 99999999]}}',
        b'{"transformer.wte.weight": {"dtype": "F32", "shape": [-23, 8], "data_offsets": [0, 736]}}',
        b'{"transformer.wte.weight": 5}',
        b"5",
    ],
    ids=["deep", "offsets", "negative", "number", "no object"],
)
def test_a_hostile_header_is_refused_in_words(folder: Path, header: bytes) -> None:
    """Offsets and shapes are checked before anything is read by them."""
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "model.safetensors is truncated or not safetensors" in refusal(folder)
