"""Prompts of the induction task: random tokens that repeat, [A][B] ... [A], to be continued by [B].

Source: Olsson et al. 2022, arXiv:2209.11895, "repeated random tokens".
"""

from collections.abc import Sequence
from functools import lru_cache
from random import Random

from tokenizers import Tokenizer

from api_schemas.datasets import InductionDataset
from api_schemas.errors import InvalidSpec
from api_schemas.wording.values import wrong
from service.datasets.draft import Draft

TOKENS_PER_PLACE = 4
"""So many different tokens, at least, for each place of the first half."""


@lru_cache(maxsize=16)
def ordinary_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids of a tokenizer's own tokens, without special and added ones, in order."""
    added = tokenizer.get_added_tokens_decoder()
    return tuple(sorted(set(tokenizer.get_vocab(with_added_tokens=False).values()) - set(added)))


def draft_induction(dataset: InductionDataset, vocabulary: Sequence[int], bos_id: int | None, n_ctx: int) -> Draft:
    """Draw the prompts.

    Each example has a random generator of its own, so a longer draw begins with the shorter one of the same seed, and
    ``new`` changes nothing else about an example.

    Raises:
        InvalidSpec: The vocabulary or the context is too small for prompts of this length.
    """
    _check_length(dataset.length, len(vocabulary), n_ctx - (bos_id is not None))
    bos = [] if bos_id is None else [bos_id]
    draft = Draft([], [], answers={"B": [], "other": []})
    right, other = [], []
    for example in range(dataset.examples):
        tokens = _different(Random(f"{dataset.seed}:{example}"), vocabulary, 2 * dataset.length + 1)
        half, redrawn = tokens[: dataset.length], tokens[dataset.length : -1]
        instead = redrawn if dataset.new == "half" else [*half[:-2], redrawn[-2], half[-1]]
        draft.orig.append([*bos, *half, *half[:-1]])
        draft.new.append([*bos, *instead, *half[:-1]])
        right.append(half[-1])
        other.append(tokens[-1])
    first = len(bos) + dataset.length - 2
    draft.answers = {"B": right, "other": other}
    draft.roles = {"A1": [first] * dataset.examples, "B1": [first + 1] * dataset.examples}
    return draft


def _check_length(length: int, n_tokens: int, n_places: int) -> None:
    most = min(n_tokens // TOKENS_PER_PLACE, (n_places + 1) // 2)
    if length > most:
        context = f"prompts of {2 * length - 1:,} tokens, and this model's context has room for {n_places:,}"
        words = f"{TOKENS_PER_PLACE * length:,} different tokens, and this model has {n_tokens:,} that are not special"
        needs = context if 2 * length - 1 > n_places else words
        raise InvalidSpec([wrong(("dataset", "length"), f"length {length:,} needs {needs}: give at most {most:,}")])


def _different(random: Random, vocabulary: Sequence[int], count: int) -> list[int]:
    """So many different tokens. Not ``random.sample``, whose draws Python does not promise to keep."""
    found: dict[int, None] = {}
    while len(found) < count:
        found[vocabulary[random.randrange(len(vocabulary))]] = None
    return list(found)
