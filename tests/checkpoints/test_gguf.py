"""GGUF files: what their metadata say is honoured or refused by name, and damaged ones are told."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration, listed, revision
from checkpoints.gguf.header import read_gguf
from checkpoints.registry import read_registry
from checkpoints.weights import check_values, check_weights
from tests.tiny_gguf import write_gguf


def refusal(path: Path) -> str:
    """Why the file is refused."""

    def check() -> None:
        check_weights(path, configuration(path))
        check_values(path)

    with pytest.raises(UnusableCheckpoint) as caught:
        check()
    return caught.value.reason


@pytest.mark.parametrize("case", ["llama", "llama, biases", "llama, MLP biases", "qwen2", "qwen3"])
def test_a_sound_file_is_the_model_that_it_was_made_of(case: str, tmp_path: Path) -> None:
    """Sizes, rotary frequencies and tensors are those of the folder."""
    changes = {"attention_bias": False} if case == "llama, biases" else {}
    path = write_gguf(tmp_path / "model.gguf", case, changes=changes)
    found, folder = configuration(path), configuration(tmp_path / "model-folder")
    assert found.architecture.eps == pytest.approx(1e-6, rel=1e-6)  # a float32 in the file
    assert replace(found.architecture, eps=1e-6) == folder.architecture
    check_weights(path, found)
    check_values(path)
    assert list(listed(path)) == ["model.gguf"]


def test_the_revision_is_that_of_the_bytes(tmp_path: Path) -> None:
    """As of a folder."""
    path = write_gguf(tmp_path / "model.gguf")
    before = revision(path)
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert before.startswith("local-") and revision(path) != before


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"expert_count": 8}, "8 experts"),
        ({"attention.sliding_window": 12}, "llama.attention.sliding_window, which is not known here"),
        ({"rope.scaling.type": "yarn"}, "rope.scaling.type is 'yarn'"),
        ({"rope.dimension_count": 8}, "rope.dimension_count is 8, and its heads are 16 wide"),
        ({"attention.head_count": 5}, "5 heads cannot share 2"),
        ({"block_count": 3}, "weights are missing, among them blk.2.attn_norm.weight"),
        ({"feed_forward_length": 64}, "the metadata ask for [64, 64]"),
        ({"attention.layer_norm_rms_epsilon": -1.0}, "attention.layer_norm_rms_epsilon -1.0"),
        ({"block_count": 10**9}, "must be an integer from 1 to 4096"),
    ],
)
def test_what_changes_the_function_is_refused_by_name(metadata: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Never ignored: the numbers would be another model's."""
    assert message in refusal(write_gguf(tmp_path / "model.gguf", metadata=metadata))


def test_linear_scaling_and_factors_of_frequencies_are_honoured(tmp_path: Path) -> None:
    """Both change every score."""
    plain = configuration(write_gguf(tmp_path / "plain.gguf")).architecture.rotary
    scaling = {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}
    scaled = configuration(write_gguf(tmp_path / "scaled.gguf", metadata=scaling)).architecture.rotary
    assert plain is not None and scaled is not None
    assert np.allclose(np.array(scaled.frequencies) * 4, plain.frequencies)
    factors = np.linspace(1, 8, 8, dtype=np.float32)
    path = write_gguf(tmp_path / "divided.gguf", factors=factors)
    divided = configuration(path).architecture.rotary
    check_weights(path, configuration(path))
    assert divided is not None
    assert np.allclose(np.array(divided.frequencies) * factors, plain.frequencies)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    """llama.cpp runs more than a hundred."""
    path = write_gguf(tmp_path / "model.gguf")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"llama", b"mamba"))
    assert refusal(path) == "its GGUF architecture is 'mamba', and of GGUF files only llama, qwen2, qwen3 can be run"


@pytest.mark.parametrize("kept", [0, 3, 24, 200, 4000, -1])
def test_a_truncated_file_is_told(kept: int, tmp_path: Path) -> None:
    """A download that broke off."""
    path = write_gguf(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(path).startswith("model.gguf is truncated or not a GGUF file (")


def test_lengths_beyond_the_file_take_no_memory(tmp_path: Path) -> None:
    """A file of 40 bytes can state an array of 2^60 numbers."""
    path = tmp_path / "model.gguf"
    key = struct.pack("<Q", 1) + b"k" + struct.pack("<IIQ", 9, 4, 2**60)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key)
    assert "its header ends before it is complete" in refusal(path)


def test_values_that_are_no_numbers_are_named_by_tensor(tmp_path: Path) -> None:
    """Of tensors that are not quantised here; of the others when they are read."""
    path = write_gguf(tmp_path / "model.gguf", kind="F32")
    tensor = read_gguf(path).tensors["blk.1.ffn_down.weight"]
    content = bytearray(path.read_bytes())
    content[tensor.start : tensor.start + 4] = struct.pack("<f", float("nan"))
    path.write_bytes(content)
    assert refusal(path) == "model.gguf holds NaN or infinite values in blk.1.ffn_down.weight"


def test_a_folder_with_a_gguf_file_says_what_to_register(tmp_path: Path) -> None:
    """The file itself; another kind of file is refused."""
    (tmp_path / "place").mkdir()
    path = write_gguf(tmp_path / "place" / "model.gguf")
    with pytest.raises(ValueError, match=r"no config.json, but model.gguf: register the file itself"):
        read_registry(f"mine={tmp_path / 'place'}")
    assert read_registry(f"mine={path}")["mine"].folder == str(path)
    (tmp_path / "model.bin").write_text("")
    with pytest.raises(ValueError, match=r"model.bin is a file, and only folders and GGUF files"):
        read_registry(f"mine={tmp_path / 'model.bin'}")
