"""A GGUF file is a model of the catalog: sizes, text and revision from the file alone."""

from pathlib import Path

import pytest

from api_schemas.errors import ModelUnavailable
from api_schemas.models import ModelOrigin
from service.models.catalog import ModelCatalog
from service.models.gguf_tokenizer import tokenizer_of
from tests.tiny_gguf import write_gguf


def catalog_of(path: Path) -> ModelCatalog:
    return ModelCatalog({"local": ModelOrigin(name="local", folder=str(path))})


def test_a_gguf_file_has_sizes_text_and_a_revision(tmp_path: Path) -> None:
    """SmolLM takes digits one by one; special tokens are found in text."""
    found = catalog_of(write_gguf(tmp_path / "model.gguf")).get("local")
    assert (found.architecture.family, found.architecture.n_kv_heads, found.architecture.d_vocab) == ("llama", 2, 288)
    assert found.revision.startswith("local-")
    assert (found.bos_id, found.adds_bos, found.text_problem) == (1, False, None)
    assert found.tokenizer is not None
    encoded = found.tokenizer.encode("the 12<|im_start|>", add_special_tokens=False)
    assert encoded.tokens == ["the", "Ġ", "1", "2", "<|im_start|>"]


def test_a_truncated_file_makes_its_model_unavailable(tmp_path: Path) -> None:
    """With the reason, and without a path of the server."""
    path = write_gguf(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelUnavailable, match=r"model\.gguf is truncated or not a GGUF file") as caught:
        catalog_of(path).get("local")
    assert str(tmp_path) not in str(caught.value)


def test_a_damaged_tokenizer_leaves_tokens_datasets() -> None:
    """The weights are sound; only text cannot be read."""
    metadata = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": ["a"]}
    found = tokenizer_of({**metadata, "tokenizer.ggml.merges": 3})
    assert found.tokenizer is None and found.problem is not None and "is damaged" in found.problem
