"""Text as a model's tokenizer reads it, with the place of every token in the text."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer


@dataclass(frozen=True)
class TokenisedText:
    """One text and its tokens."""

    text: str
    ids: list[int]
    spans: list[tuple[int, int]]
    """First character and the one after the last, per token. A prepended BOS token has no characters."""

    def positions_of(self, words: str) -> list[int]:
        """Where ``words`` is the text of a token, or of a run of them: the position of the run's last token."""
        ends = {end: pos for pos, (_, end) in enumerate(self.spans) if end > 0}
        starts = {0} | ends.keys() | {start for start, _ in self.spans}
        found: list[int] = []
        start = self.text.find(words)
        while start >= 0:
            end = start + len(words)
            if start in starts and end in ends:
                found.append(ends[end])
            start = self.text.find(words, start + 1)
        return found

    def token_ending_at(self, end: int) -> int | None:
        """Position of the last token that ends right before this character; None where a token goes on over it."""
        return next((pos for pos in reversed(range(len(self.spans))) if self.spans[pos][1] == end), None)


def tokenise(tokenizer: Tokenizer, texts: Sequence[str], bos_id: int | None) -> list[TokenisedText]:
    """The tokens of each text, after a BOS token where one is given."""
    bos, bos_span = ([], []) if bos_id is None else ([bos_id], [(0, 0)])
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    return [
        TokenisedText(text, bos + encoding.ids, bos_span + encoding.offsets)
        for text, encoding in zip(texts, encodings, strict=True)
    ]


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The tokens of one text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids
