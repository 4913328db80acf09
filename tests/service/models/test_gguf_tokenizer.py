"""A GGUF file's tokenizer is that of the folder from which it was converted."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from service.models.gguf_tokenizer import tokenizer_of
from tests.tokenizer_styles import BYTES, STYLES

TEXTS = (
    "When Mary and John went to the library, John gave a lamp to Mary",
    " Mary and  John\n\nMary",
    "In 1732 the\twar lasted 3.14159 years, don't ask! I'LL",
    "Élan 東京 🙂",
    "<s>Mary</s> <bos>Mary<|endoftext|> <|begin_of_text|><|im_start|>",
    "",
)
PRE = {"smollm2": "smollm", "llama3": "llama-bpe", "qwen2": "qwen2"}


def metadata_of(original: Tokenizer, style: str) -> dict[str, Any]:
    """As llama.cpp's converter writes it."""
    described = json.loads(original.to_str())
    tokens = [original.id_to_token(token) or "" for token in range(original.get_vocab_size())]
    special = {entry["content"] for entry in described["added_tokens"]}
    unknown = described["model"]["unk_token"]
    types = [2 if token == unknown else 3 if token in special else 6 if token in BYTES else 1 for token in tokens]
    found: dict[str, Any] = {
        "tokens": tokens,
        "token_type": types,
        "bos_token_id": 1,
        "add_bos_token": STYLES[style][1],
    }
    pairs = [tuple(pair) for pair in described["model"]["merges"]]
    if style in PRE:
        found |= {"model": "gpt2", "pre": PRE[style], "merges": [" ".join(pair) for pair in pairs]}
    else:
        ranks = {"".join(pair): rank for rank, pair in reversed([*enumerate(pairs)])}
        scores = [-float(ranks.get(token, len(pairs))) for token in tokens]
        found |= {"model": "llama", "scores": scores, "add_space_prefix": style == "llama2"}
        found["unknown_token_id"] = tokens.index(unknown)
    return {f"tokenizer.ggml.{key}": value for key, value in found.items()}


@pytest.mark.parametrize("style", [*PRE, "llama2", "gemma"])
def test_the_tokens_are_those_of_the_folder(style: str, tmp_path: Path) -> None:
    """Where the file was converted from a folder that transformers reads."""
    STYLES[style][0](tmp_path)
    original = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    found = tokenizer_of(metadata_of(original, style))
    assert found.tokenizer is not None and found.problem is None
    assert (found.bos_id, found.adds_bos) == (1, STYLES[style][1])
    for text in TEXTS:
        ids = original.encode(text, add_special_tokens=False).ids
        assert found.tokenizer.encode(text, add_special_tokens=False).ids == ids, text
        assert found.tokenizer.decode(ids) == original.decode(ids)


def test_a_kind_that_is_not_known_is_said() -> None:
    """Text datasets are then refused with this reason; `tokens` work."""
    tokens = {"tokenizer.ggml.tokens": ["a"], "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.bos_token_id": 0}
    found = tokenizer_of(tokens | {"tokenizer.ggml.pre": "viking"})
    assert found.tokenizer is None and found.bos_id == 0
    assert found.problem == "the kind of its GGUF file's tokenizer (gpt2, viking) is not known here"
    assert tokenizer_of({}).problem is None
