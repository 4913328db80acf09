"""Prefixes: the beginnings of prompts, each of which needs to be computed only once.

What a causal model computes at a position depends on the tokens up to there and on nothing else. So two positions with
the same tokens before them have the same row of every activation, bit for bit: those of ``new`` before its first token
that differs from ``orig``, those of a header that many examples share, and all of an example without any difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SAVED = 0.25
"""Prompts whose own rows begin late attend apart from the others where this share of all queries is saved so."""
SHORT = 32
"""Attention over fewer positions costs next to nothing."""


@dataclass(frozen=True, eq=False)
class Attending:
    """Prompts whose queries are computed together, from one position on."""

    prompts: NDArray[np.int64]
    start: int


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The distinct prefixes of some prompts, in the order in which they are first found."""

    place: NDArray[np.int64]
    """(prompt, position): which prefix ends there; in the padding of a shorter prompt, its whole."""
    first: NDArray[np.int64]
    """(prefix,): where it is found first, as an index into all of ``place``."""
    positions: NDArray[np.int64]
    """(prefix,): the position at which it ends."""
    are_all: bool
    """Whether every position has a prefix of its own, so that nothing is saved."""

    def __len__(self) -> int:
        return len(self.first)

    def attending(self) -> list[Attending]:
        """All prompts at once, or those apart whose own rows begin late, where that saves much."""
        n_prompts, n_pos = self.place.shape
        starts = np.full(n_prompts, n_pos - 1)
        np.minimum.at(starts, self.first // n_pos, self.positions)
        order = np.argsort(starts, kind="stable")
        saved = np.arange(n_prompts, 0, -1) * (starts[order] - starts[order[0]])
        split = int(np.argmax(saved))
        if n_pos < SHORT or saved[split] < LEAST_SAVED * self.place.size:
            return [Attending(np.arange(n_prompts), 0)]
        early, late = np.sort(order[:split]), np.sort(order[split:])
        return [Attending(early, 0), Attending(late, int(starts[late].min()))]


def prefixes_of(prompts: Sequence[Sequence[int]]) -> Prefixes:
    """The prefixes of some prompts, none of which is empty."""
    lengths = np.array([len(prompt) for prompt in prompts])
    n_pos = int(lengths.max())
    tokens = np.zeros((len(prompts), n_pos), dtype=np.int64)
    tokens[np.arange(n_pos) < lengths[:, None]] = np.concatenate([np.asarray(prompt) for prompt in prompts])
    place = np.zeros_like(tokens)
    first: list[NDArray[np.int64]] = []
    n_found, begun = 0, np.zeros(len(prompts), dtype=np.int64)
    for position in range(n_pos):
        going = np.flatnonzero(lengths > position)
        key = (begun[going] << 32) | tokens[going, position]
        _, at, own = np.unique(key, return_index=True, return_inverse=True)
        begun[going] = n_found + own
        first.append(going[at] * n_pos + position)
        n_found += len(at)
        place[:, position] = begun
    found = np.concatenate(first)
    order = np.argsort(found)  # numbered anew, prompt by prompt: what belongs to one prompt lies together
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return Prefixes(number[place], found[order], found[order] % n_pos, are_all=found.size == place.size)
