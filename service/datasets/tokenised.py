"""Text as a model's tokenizer reads it, with the characters of every token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from tokenizers import Tokenizer

AT_ONCE = 256
"""Texts that are tokenised together: what the tokenizer says of a token takes a hundred bytes."""


class TooManyTokens(Exception):
    """The texts have more tokens than may be read."""


@dataclass(frozen=True)
class TokenisedText:
    """One text and its tokens."""

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    """First character and the one after the last, per token. A prepended BOS token has no characters."""

    @cached_property
    def _ends(self) -> dict[int, int]:
        """Character after a token -> the position of the last token that ends there."""
        return {end: pos for pos, (_, end) in enumerate(self.spans) if end > 0}

    @cached_property
    def _starts(self) -> set[int]:
        return {0} | self._ends.keys() | {start for start, _ in self.spans}

    def positions_of(self, words: str) -> list[int]:
        """Where ``words`` is the text of a token, or of a run of them: the position of the run's last token."""
        found: list[int] = []
        start = self.text.find(words)
        while start >= 0:
            end = start + len(words)
            if start in self._starts and end in self._ends:
                found.append(self._ends[end])
            start = self.text.find(words, start + 1)
        return found

    def token_ending_at(self, end: int) -> int | None:
        """Position of the last token that ends right before this character; None where a token goes on over it."""
        return self._ends.get(end)


@dataclass
class TextReader:
    """Reads texts with a model's tokenizer, each after a BOS token if there is one, until they have too many tokens."""

    tokenizer: Tokenizer
    bos_id: int | None
    most_tokens: int
    count: int = 0
    """Tokens read so far."""

    def read(self, texts: Sequence[str]) -> list[TokenisedText]:
        """The tokens of each text.

        Raises:
            TooManyTokens: There are more than ``most_tokens`` in all.
        """
        bos, span = self._bos, [(0, 0)] * len(self._bos)
        found = self._encodings(texts)
        return [TokenisedText(text, bos + encoding.ids, span + encoding.offsets) for text, encoding in found]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Their ids alone, which take less memory."""
        return [self._bos + encoding.ids for _, encoding in self._encodings(texts)]

    @property
    def _bos(self) -> list[int]:
        return [] if self.bos_id is None else [self.bos_id]

    def _encodings(self, texts: Sequence[str]) -> Iterator[tuple[str, Any]]:
        for start, stop in pairwise([*range(0, len(texts), AT_ONCE), len(texts)]):
            some = list(texts[start:stop])
            for text, encoding in zip(some, self.tokenizer.encode_batch(some, add_special_tokens=False), strict=True):
                self.count += len(encoding)
                yield text, encoding
            if self.count > self.most_tokens:
                raise TooManyTokens
