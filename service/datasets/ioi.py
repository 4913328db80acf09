"""Prompts of the indirect-object-identification task (IOI), with their counterparts, as token ids.

A prompt names one person once (the indirect object, IO) and another twice (the subject, S1 then S2), and stops right
before the indirect object's name is due: "When Mary and John arrived at the cafe that evening, John handed a cup to".

Source: Wang et al. 2022, arXiv:2211.00593, sections 2 and 3 (the task, and the ABC counterparts); the wording is ours.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal, NamedTuple

from tokenizers import Tokenizer

from api_schemas.errors import InvalidSpec
from api_schemas.wording.values import wrong
from service.datasets.ioi_tokens import SLOTS, template_tokens
from service.datasets.ioi_words import NAMES, OBJECTS, PLACES, TEMPLATES
from service.datasets.words import token_ids

PromptType = Literal["mixed", "ABBA", "BABA"]
NewKind = Literal["abc", "swapped"]

FEWEST_NAMES, FEWEST_OTHERS = 10, 5
"""Below this, few pairs of names, or places and objects, are left, and examples are hardly independent."""


class TooFewWords(InvalidSpec):
    """Hardly any of our words of some kind is a single token of this tokenizer, so the task cannot be posed in it."""

    def __init__(self, kind: str, needed: int, found: Sequence[str], of: int) -> None:
        which = f" ({', '.join(found)})" if found else ""
        sentence = (
            f"The ioi dataset needs at least {needed} {kind} that are single tokens with a leading space; "
            f"this model's tokenizer has {len(found)} of our {of}{which}. Kind 'templates' takes words of your own."
        )
        super().__init__([wrong(("dataset", "kind"), sentence)])


@dataclass(frozen=True)
class IoiTokens:
    """IOI examples, one list entry each. Token ids are unpadded; an example's orig and new have equal length."""

    orig: list[list[int]]
    new: list[list[int]]
    roles: dict[str, list[int]]
    """``IO S1 S1+1 S2 end``: positions in the orig prompt, a prepended BOS token counted."""
    answers: dict[str, list[int]]
    """``IO S``: the names' token ids in the orig prompt, for ``abc`` and ``swapped`` alike."""


@dataclass(frozen=True)
class IoiPrompts(IoiTokens):
    """The same examples, with their texts."""

    orig_texts: list[str]
    new_texts: list[str]


class _Draw(NamedTuple):
    """One example in words, before tokens. ``orig_names`` and ``new_names`` fill the slots in order of appearance."""

    template: str
    place: str
    object: str
    io: str
    s: str
    orig_names: tuple[str, str, str]
    new_names: tuple[str, str, str]

    def words(self, is_new: bool) -> tuple[str, ...]:
        """What stands in each of ``SLOTS``."""
        return (*(self.new_names if is_new else self.orig_names), self.place, self.object)


class _Generators(threading.local):
    """A thread's generator, which is seeded for every example: to make one takes as long."""

    def __init__(self) -> None:
        self.one = Random(0)


_GENERATORS = _Generators()


def draw_ioi(
    tokenizer: Tokenizer,
    examples: int,
    seed: int,
    prompt_type: PromptType = "mixed",
    new: NewKind = "abc",
    prepend_bos_id: int | None = None,
) -> IoiPrompts:
    """Draw IOI prompts and their counterparts.

    Each example has a random generator of its own, so a longer draw begins with the shorter one of the same seed, and
    ``prompt_type`` and ``new`` change nothing else about an example.

    Args:
        prompt_type: ``mixed`` alternates, beginning with ABBA.
        new: ``abc`` puts three further names, all different, in the three name slots. ``swapped`` exchanges who is IO
            and who S by naming the other person third: ABBA becomes BABA, and the right answer is then S's name.
        prepend_bos_id: Put before every prompt; positions count it.

    Raises:
        TooFewWords: Fewer than ten of our names, or five of our places or objects, are single tokens.
    """
    draws = _draws(single_token_words(tokenizer), examples, seed, prompt_type, new)
    tokens = _tokens_of(tokenizer, draws, prepend_bos_id)
    return IoiPrompts(**vars(tokens), orig_texts=_texts(draws, is_new=False), new_texts=_texts(draws, is_new=True))


def draw_tokens(
    tokenizer: Tokenizer, examples: int, seed: int, prompt_type: PromptType, new: NewKind, prepend_bos_id: int | None
) -> IoiTokens:
    """The tokens of ``draw_ioi``, which are all that workers receive; raises what it raises."""
    draws = _draws(single_token_words(tokenizer), examples, seed, prompt_type, new)
    return _tokens_of(tokenizer, draws, prepend_bos_id)


@dataclass(frozen=True)
class Words:
    """Our words that are one token each of a tokenizer, in fixed order, and those that are not."""

    tokens: Mapping[str, int]
    """Of each of them."""
    names: Mapping[str, int]
    """With their token."""
    places: tuple[str, ...]
    objects: tuple[str, ...]
    several: tuple[str, ...]
    """Left out."""


@lru_cache(maxsize=16)
def single_token_words(tokenizer: Tokenizer) -> Words:
    """Those of our words that are one token with a leading space, before another word too.

    The token must also decode to the word: a tokenizer with an unknown token encodes every stranger as one token.
    """
    tokens: dict[str, int] = {}
    for word in (*NAMES, *PLACES, *OBJECTS):
        ids = token_ids(tokenizer, f" {word}")
        within = token_ids(tokenizer, f" {word} and")
        if len(ids) == 1 and tokenizer.decode(ids).strip() == word and within[:1] == ids:
            tokens[word] = ids[0]
    return Words(
        tokens=tokens,
        names={name: tokens[name] for name in NAMES if name in tokens},
        places=tuple(place for place in PLACES if place in tokens),
        objects=tuple(thing for thing in OBJECTS if thing in tokens),
        several=tuple(word for word in (*NAMES, *PLACES, *OBJECTS) if word not in tokens),
    )


def _check(words: Words) -> None:
    for kind, needed, found, ours in (
        ("names", FEWEST_NAMES, list(words.names), NAMES),
        ("places", FEWEST_OTHERS, words.places, PLACES),
        ("objects", FEWEST_OTHERS, words.objects, OBJECTS),
    ):
        if len(found) < needed:
            raise TooFewWords(kind, needed, found, len(ours))


def _draws(words: Words, examples: int, seed: int, prompt_type: PromptType, new: NewKind) -> list[_Draw]:
    _check(words)
    random, names = _GENERATORS.one, list(words.names)
    found = []
    for example in range(examples):
        random.seed(f"{seed}:{example}")  # text goes through SHA-512: the same on every machine and hash seed
        is_abba = example % 2 == 0 if prompt_type == "mixed" else prompt_type == "ABBA"
        found.append(_draw_example(random, words, names, is_abba, new))
    return found


def _draw_example(random: Random, words: Words, names: list[str], is_abba: bool, new: NewKind) -> _Draw:
    """Draw one example. Everything is drawn whatever the order and counterpart, so that they change nothing else."""
    lists = (TEMPLATES, words.places, words.objects)
    template, place, thing = (some[_below(len(some), random)] for some in lists)
    io, s, *others = _distinct(random, names, 5)
    orig_names = (io, s, s) if is_abba else (s, io, s)
    new_names = (orig_names[0], orig_names[1], io) if new == "swapped" else (others[0], others[1], others[2])
    return _Draw(template, place, thing, io, s, orig_names, new_names)


def _distinct(random: Random, names: list[str], count: int) -> list[str]:
    """``count`` different names. Not ``random.sample``, whose draws Python does not promise to keep."""
    left = list(names)
    return [left.pop(_below(len(left), random)) for _ in range(count)]


def _below(most: int, random: Random) -> int:
    """What ``random.randrange(most)`` gives, in a third of its time."""
    bits = most.bit_length()
    while (drawn := random.getrandbits(bits)) >= most:
        pass
    return drawn


def _tokens_of(tokenizer: Tokenizer, draws: Sequence[_Draw], prepend_bos_id: int | None) -> IoiTokens:
    name_tokens = single_token_words(tokenizer).names
    begin = [] if prepend_bos_id is None else [prepend_bos_id]
    orig, new = (_encode(tokenizer, draws, is_new, begin) for is_new in (False, True))
    answers = {"IO": [name_tokens[draw.io] for draw in draws], "S": [name_tokens[draw.s] for draw in draws]}
    return IoiTokens(orig, new, _roles(orig, answers), answers)


def _texts(draws: Sequence[_Draw], is_new: bool) -> list[str]:
    return [draw.template.format_map(dict(zip(SLOTS, draw.words(is_new), strict=True))) for draw in draws]


def _encode(tokenizer: Tokenizer, draws: Sequence[_Draw], is_new: bool, begin: list[int]) -> list[list[int]]:
    known, tokens = template_tokens(tokenizer), single_token_words(tokenizer).tokens
    if known is None:
        return [begin + tokenizer.encode(text, add_special_tokens=False).ids for text in _texts(draws, is_new)]
    return [known[draw.template].filled(begin, [tokens[word] for word in draw.words(is_new)]) for draw in draws]


def _roles(orig: list[list[int]], answers: dict[str, list[int]]) -> dict[str, list[int]]:
    """Find the names by their tokens: IO stands once in a prompt, S twice, and no other word is a name."""
    s1_pos = [prompt.index(s) for prompt, s in zip(orig, answers["S"], strict=True)]
    return {
        "IO": [prompt.index(io) for prompt, io in zip(orig, answers["IO"], strict=True)],
        "S1": s1_pos,
        "S1+1": [pos + 1 for pos in s1_pos],
        "S2": [prompt.index(s, pos + 1) for prompt, s, pos in zip(orig, answers["S"], s1_pos, strict=True)],
        "end": [len(prompt) - 1 for prompt in orig],
    }
