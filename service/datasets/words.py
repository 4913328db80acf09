"""Words as they stand within a text, however a tokenizer marks the spaces between them.

A SentencePiece-like tokenizer puts a space of its own before every text, and takes it away when it decodes: by itself
``" Mary"`` is then two tokens and decodes to ``"Mary"``, while within a sentence it is one and keeps its space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tokenizers import Tokenizer

BEFORE = "\n"
"""Stands before a word whose tokens are asked for: no tokenizer joins it to what follows."""
SAMPLE = "a"


@dataclass(frozen=True)
class _Style:
    """What a tokenizer does at the beginning of a text."""

    prefixes_space: bool
    lead: tuple[int, ...]
    """Tokens before those that are decoded, so that the first keeps its space; empty where it keeps it anyway."""


@lru_cache(maxsize=16)
def _style(tokenizer: Tokenizer) -> _Style:
    alone = _encoded(tokenizer, SAMPLE)
    prefixes_space = alone != _after_break(tokenizer, SAMPLE)
    return _Style(prefixes_space, tuple(alone) if prefixes_space else ())


def _encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _after_break(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text that follows a line break."""
    encoding = tokenizer.encode(BEFORE + text, add_special_tokens=False)
    return [token for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True) if start >= len(BEFORE)]


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of a text that stands within a longer one."""
    if _style(tokenizer).prefixes_space:
        return _after_break(tokenizer, text)
    return _encoded(tokenizer, text)


def lengths(tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """How many tokens each text has."""
    return [len(token_ids(tokenizer, text)) for text in texts]


def pieces(tokenizer: Tokenizer | None, ids: Sequence[int]) -> list[str]:
    """The text of each token, with its space; its id where there is no tokenizer."""
    if tokenizer is None:
        return [str(token) for token in ids]
    lead = list(_style(tokenizer).lead)
    skipped = len(tokenizer.decode(lead, skip_special_tokens=False)) if lead else 0
    return [tokenizer.decode([*lead, token], skip_special_tokens=False)[skipped:] for token in ids]
