"""Tokens of the ``ioi`` templates, each looked up once per tokenizer, where that gives what the whole text would."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter, ascii_letters

from tokenizers import Tokenizer, models, pre_tokenizers

from service.datasets.ioi_words import TEMPLATES

OUR_LETTERS = frozenset(ascii_letters + " ,")
"""All that our texts are written in."""


@dataclass(frozen=True)
class TemplateTokens:
    """The tokens between a template's slots, and which slot follows them; the last has none."""

    parts: tuple[tuple[list[int], str], ...]

    def filled(self, fillers: Mapping[str, str], tokens: Mapping[str, int]) -> list[int]:
        """The prompt's tokens, with a word's token in each slot."""
        ids: list[int] = []
        for literal, slot in self.parts:
            ids += literal
            if slot:
                ids.append(tokens[fillers[slot]])
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
    parts = []
    for literal, slot, _, _ in Formatter().parse(template):
        assert OUR_LETTERS.issuperset(literal)
        assert not slot or literal.endswith(" ")
        text = literal.removesuffix(" ") if slot else literal
        parts.append((tokenizer.encode(text, add_special_tokens=False).ids, slot or ""))
    return TemplateTokens(tuple(parts))
