"""Answers given as text: each string is one token of the model."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice

from tokenizers import Tokenizer

from api_schemas.datasets import AnswerTokens
from api_schemas.wording.values import counted, shown, wrong
from service.datasets.draft import MOST_PER_KIND, Draft, Path, written
from service.datasets.words import token_ids

Texts = Sequence[str] | Sequence[int] | Sequence[list[str]] | Sequence[list[int]]
"""One string or token id per example, or a set of them."""


def answer_tokens(draft: Draft, answer: str, given: Texts, path: Path, tokenizer: Tokenizer) -> AnswerTokens:
    """The token of each string; 0 where it is not one token, which is then a problem of the draft.

    Args:
        path: Of the strings.
    """
    ids_of = cache(lambda text: token_ids(tokenizer, text))
    several = ((place, text) for place, text in _strings(given) if len(ids_of(text)) != 1)
    problems = [
        wrong((*path, *place), several_tokens(tokenizer, text)) for place, text in islice(several, MOST_PER_KIND)
    ]
    draft.problems += problems
    unspaced = next((text for _, text in _strings(given) if text[0].isalpha() and len(ids_of(" " + text)) == 1), None)
    if unspaced is not None and not problems:
        draft.warnings.append(
            f"answer {answer}: {shown(unspaced)} is the token without a leading space; "
            f"within a sentence {shown(' ' + unspaced)} is what follows"
        )

    def token(entry: str | int) -> int:
        ids = [entry] if isinstance(entry, int) else ids_of(entry)
        return ids[0] if len(ids) == 1 else 0

    return [[token(one) for one in own] if isinstance(own, list) else token(own) for own in given]  # type: ignore[return-value]


def _strings(given: Texts) -> Iterator[tuple[Path, str]]:
    """Every string, with its place."""
    for example, own in enumerate(given):
        if isinstance(own, list):
            yield from (((example, index), one) for index, one in enumerate(own) if isinstance(one, str))
        elif isinstance(own, str):
            yield (example,), own


def several_tokens(tokenizer: Tokenizer, text: str) -> str:
    """Why a text cannot be an answer."""
    ids = token_ids(tokenizer, text)
    message = f"{shown(text)} is {counted(len(ids), 'token')} ({written(tokenizer, ids)})"
    if not text.startswith(" ") and len(token_ids(tokenizer, " " + text)) == 1:
        return f"{message}: an answer is a single token, such as {shown(' ' + text)} with a leading space"
    return f"{message}: an answer is a single token of this model"
