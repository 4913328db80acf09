"""A GGUF file computes what transformers computes when it reads the same file."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from api_schemas.errors import UnusableModel
from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from checkpoints.gguf.header import read_gguf
from tests.clean_runs import clean_logits
from tests.tiny_gguf import write_gguf
from worker.models.loading import LoadedModel, load_model

PLAIN = {
    "fold_ln": False,
    "center_writing_weights": False,
    "center_unembed": False,
    "refactor_factored_attn_matrices": False,
    "fold_value_biases": False,
}
SMOLLM2 = Path("~/.cache/pathpatch/models/smollm2-135m.gguf").expanduser()
"""Where ``pathpatch models fetch`` puts it."""


def load(path: Path, cache_dir: Path, **flags: bool) -> LoadedModel:
    registry = {"tiny": ModelOrigin(name="tiny", folder=str(path))}
    return load_model("tiny", ModelSpec(name="tiny", **flags), registry, "cpu", cache_dir)


def deviation(path: Path, cache_dir: Path, tokens: torch.Tensor) -> float:
    """Of our logits from transformers', relative to the largest."""
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = theirs(tokens).logits
        found = clean_logits(load(path, cache_dir, **PLAIN).weights, tokens)
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16", "F32", "BF16"])
@pytest.mark.parametrize("case", ["llama", "qwen2"])
def test_a_small_file_gives_transformers_logits(case: str, kind: str, tmp_path: Path) -> None:
    """Dequantised, and with Llama's queries and keys in their order again."""
    path = write_gguf(tmp_path / "model.gguf", case, kind)
    tokens = torch.randint(288, (2, 12), generator=torch.Generator().manual_seed(0))
    assert deviation(path, tmp_path / "cache", tokens) < 1e-6


def test_what_was_quantised_is_told_at_every_start(tmp_path: Path) -> None:
    """It is part of a result's provenance."""
    path = write_gguf(tmp_path / "model.gguf", kind="Q4_1")
    first, second = load(path, tmp_path / "cache"), load(path, tmp_path / "cache")
    assert (first.from_cache, second.from_cache) == (False, True)
    assert first.dequantised_from == second.dequantised_from == ("Q4_1",)
    assert load(write_gguf(tmp_path / "plain.gguf", kind="F32"), tmp_path / "cache").dequantised_from == ()


def test_quantised_values_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    """A block's scale may be NaN."""
    path = write_gguf(tmp_path / "model.gguf")
    content = bytearray(path.read_bytes())
    start = read_gguf(path).tensors["blk.1.attn_v.weight"].start
    content[start : start + 2] = b"\x00\x7e"
    path.write_bytes(content)
    with pytest.raises(UnusableModel, match=r"NaN or infinite values in blk\.1\.attn_v\.weight"):
        load(path, tmp_path / "cache")


@pytest.mark.slow
@pytest.mark.skipif(not SMOLLM2.exists(), reason="pathpatch models fetch smollm2-135m")
def test_smollm2_gives_transformers_logits(tmp_path: Path) -> None:
    """A real language model: 30 layers of 9 heads, 3 key-value heads."""
    tokens = torch.tensor([[2427, 5099, 284, 2322, 3514, 288, 260, 4249, 28, 2322, 4502, 253, 5968, 288]])
    assert deviation(SMOLLM2, tmp_path, tokens) < 1e-6
