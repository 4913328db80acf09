"""Tokens of the ``ioi`` templates, each looked up once per tokenizer, where that gives what the whole text would."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter, ascii_letters

from tokenizers import Tokenizer, models, pre_tokenizers

from service.datasets.ioi_words import TEMPLATES

SLOTS = ("first", "second", "third", "place", "object")
"""Of every template."""
OUR_LETTERS = frozenset(ascii_letters + " ,")
"""All that our texts are written in."""


@dataclass(frozen=True)
class TemplateTokens:
    """A template's tokens, and the position of each slot's word, which is one token."""

    ids: list[int]
    """With 0 in the slots."""
    places: tuple[int, int, int, int, int]
    """Of ``SLOTS``."""

    def filled(self, begin: list[int], words: Sequence[int]) -> list[int]:
        """The prompt's tokens after those that it begins with, given the token of each of ``SLOTS``."""
        ids = begin + self.ids
        first = len(begin)
        for place, word in zip(self.places, words, strict=True):
            ids[first + place] = word
        return ids


@lru_cache(maxsize=16)
def template_tokens(tokenizer: Tokenizer) -> Mapping[str, TemplateTokens] | None:
    """By template; None for a tokenizer that may read a word otherwise beside another.

    With GPT-2's pattern, a word of letters is cut off with the space before it, and looked up by itself.
    """
    if not _looks_up_words(tokenizer):
        return None
    return {template: _tokens_of(tokenizer, template) for template in TEMPLATES}


def _looks_up_words(tokenizer: Tokenizer) -> bool:
    split, model = tokenizer.pre_tokenizer, tokenizer.model
    is_plain = tokenizer.normalizer is None and tokenizer.padding is None and tokenizer.truncation is None
    is_gpt2s = isinstance(split, pre_tokenizers.ByteLevel) and split.use_regex and not split.add_prefix_space
    added = (token.content for token in tokenizer.get_added_tokens_decoder().values())
    return (
        is_plain
        and is_gpt2s
        and isinstance(model, models.BPE)
        and model.dropout is None
        and not any(OUR_LETTERS.issuperset(content) for content in added)
    )


def _tokens_of(tokenizer: Tokenizer, template: str) -> TemplateTokens:
    """The space before a slot belongs to its word."""
    ids: list[int] = []
    places: dict[str | None, int] = {}
    for literal, slot, _, _ in Formatter().parse(template):
        assert OUR_LETTERS.issuperset(literal)
        assert not slot or literal.endswith(" ")
        ids += tokenizer.encode(literal.removesuffix(" ") if slot else literal, add_special_tokens=False).ids
        if slot:
            places[slot] = len(ids)
            ids.append(0)
    first, second, third, place, thing = (places[slot] for slot in SLOTS)
    return TemplateTokens(ids, (first, second, third, place, thing))
