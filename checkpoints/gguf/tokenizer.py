"""The tokenizer that a GGUF file's metadata describe: byte-level BPE with the splits of its model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CONTROL, USER_DEFINED = 3, 4
"""Types of tokens that are found in text before it is split."""
STARTS_WITH_BOS = ("llama-bpe", "llama3", "llama-v3")
"""Splits whose models begin texts with BOS unless the file says otherwise, as llama.cpp has it."""


@dataclass(frozen=True)
class GgufTokenizer:
    """How the model's text becomes tokens."""

    tokenizer: Tokenizer | None
    bos_id: int | None
    adds_bos: bool
    problem: str | None = None
    """Why there is no tokenizer."""


def gguf_tokenizer(metadata: Mapping[str, Any]) -> GgufTokenizer:
    """The tokenizer; none where the file's is not byte-level BPE of a kind that is known here."""
    own = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in metadata.items()
        if key.startswith("tokenizer.ggml.")
    }
    bos, split = own.get("bos_token_id"), own.get("pre", "default")
    bos = bos if type(bos) is int else None
    adds_bos = bool(own.get("add_bos_token", split in STARTS_WITH_BOS)) and bos is not None
    problem = _problem(own, split)
    if problem is not None:
        return GgufTokenizer(None, bos, adds_bos, problem)
    try:
        return GgufTokenizer(_tokenizer(own, SPLITS[split], split in STARTS_WITH_BOS), bos, adds_bos)
    except Exception as exc:  # the library raises bare Exceptions
        return GgufTokenizer(None, bos, adds_bos, f"its GGUF tokenizer is damaged ({exc})")


def _problem(own: Mapping[str, Any], split: Any) -> str | None:
    if own.get("model") != "gpt2" or "merges" not in own:
        return f"its GGUF tokenizer is {own.get('model')!r}, and only byte-level BPE ('gpt2') is read"
    if split not in SPLITS:
        return f"its GGUF tokenizer splits text as {split!r}, and only {', '.join(sorted(SPLITS))} are known"
    if own.get("add_eos_token"):
        return "its GGUF tokenizer ends every text with a token (add_eos_token)"
    if own.get("add_space_prefix"):
        return "its GGUF tokenizer puts a space before every text (add_space_prefix)"
    return None


def _tokenizer(own: Mapping[str, Any], split: pre_tokenizers.PreTokenizer, ignore_merges: bool) -> Tokenizer:
    tokens, kinds = own["tokens"], own.get("token_type") or []
    merges = [tuple(merge.split(" ", 1)) for merge in own["merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, fuse_unk=False, ignore_merges=ignore_merges))
    if own.get("pre") == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=False) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    added = [token for token, kind in zip(tokens, kinds, strict=False) if kind == USER_DEFINED]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
    return tokenizer


def _gpt2() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _by(pattern: str) -> pre_tokenizers.PreTokenizer:
    splits = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


SPLITS: dict[str, pre_tokenizers.PreTokenizer] = {
    "gpt-2": _gpt2(),
    "llama-bpe": _by(LLAMA3),
    "llama3": _by(LLAMA3),
    "llama-v3": _by(LLAMA3),
    "qwen2": _by(QWEN2),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()]),
}
"""How text is split into words, by ``tokenizer.ggml.pre``."""
