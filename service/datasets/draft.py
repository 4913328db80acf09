"""A dataset while it is being resolved: what is known so far, and everything found wrong with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import islice, takewhile, zip_longest

from tokenizers import Tokenizer

from api_schemas.datasets import AnswerTokens
from api_schemas.errors import FieldError
from api_schemas.wording.values import counted, shown, wrong
from planning.architecture import Architecture
from service.datasets.words import pieces
from service.specs.limits import SpecLimits, knob

Path = tuple[str | int, ...]
MOST_PER_KIND = 20
"""Problems of one kind that are told, such as prompts that are too long."""
MOST_DIFFS = 5
"""Pairs of unequal length of which is told where they differ."""
LONGEST_DIFF = 64
"""Tokens of a stretch that is compared token by token."""
MOST_WRITTEN = 12
"""Tokens that a message shows."""


def _where_in_lists(run: str, example: int) -> Path:
    return ("dataset", run, example)


@dataclass
class Draft:
    """Token ids, roles and answers in the client's own order of runs, before ``swap``."""

    orig: list[list[int]]
    new: list[list[int]]
    roles: dict[str, list[int]] = field(default_factory=dict)
    answers: dict[str, AnswerTokens] = field(default_factory=dict)
    problems: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    where: Callable[[str, int], Path] = _where_in_lists
    """Path of the prompt of a run (``orig`` or ``new``) and example, or of what it was made from."""


def written(tokenizer: Tokenizer | None, ids: Sequence[int]) -> str:
    """Tokens in a message."""
    texts = pieces(tokenizer, ids[:MOST_WRITTEN])
    return ", ".join(map(shown, texts)) + (", …" if len(ids) > MOST_WRITTEN else "")


def check_prompts(draft: Draft, architecture: Architecture, limits: SpecLimits, tokenizer: Tokenizer | None) -> None:
    """Add what is wrong with the prompts: how many, how long, unequal pairs, ids beyond the vocabulary."""
    if _are_right(draft, architecture, limits):
        return  # as nearly all are: to look for what is wrong takes longer
    if len(draft.orig) != len(draft.new):
        message = f"new has {counted(len(draft.new), 'prompt')} and orig {len(draft.orig):,}: each orig has one new"
        draft.problems.append(wrong(("dataset", "new"), message))
    _check_total(draft, limits)
    draft.problems += islice(_too_long(draft, architecture), MOST_PER_KIND)
    draft.problems += islice(_unequal(draft, architecture, tokenizer), MOST_PER_KIND)
    draft.problems += islice(_beyond_vocabulary(draft, architecture), MOST_PER_KIND)


def _are_right(draft: Draft, architecture: Architecture, limits: SpecLimits) -> bool:
    lengths = list(map(len, draft.orig))
    if lengths != list(map(len, draft.new)) or not 0 < min(lengths) <= max(lengths) <= architecture.n_ctx:
        return False
    largest = max(max(map(max, draft.orig)), max(map(max, draft.new)))
    for answer in draft.answers.values():
        for own in answer:
            largest = max(largest, max(own, default=0) if isinstance(own, list) else own)
    return largest < architecture.d_vocab and 2 * sum(lengths) <= limits.max_tokens


def check_counts(draft: Draft, examples: int) -> None:
    """Add roles and answers that do not have one entry per example."""
    for kind, named in (("roles", draft.roles), ("answers", draft.answers)):
        for name, values in named.items():
            if len(values) != examples:
                message = f"{name} has {len(values):,} for {counted(examples, 'example')}: give one per example"
                draft.problems.append(wrong(("dataset", kind, name), message))


def check_role_positions(draft: Draft) -> None:
    """Add positions that lie beyond their prompt."""
    for name, positions in draft.roles.items():
        found = (
            wrong(("dataset", "roles", name, example), beyond(position, example, len(prompt)))
            for example, (position, prompt) in enumerate(zip(positions, draft.orig, strict=False))
            if not 0 <= position < len(prompt)
        )
        draft.problems += islice(found, MOST_PER_KIND)


def beyond(position: int, example: int, length: int) -> str:
    """A position that its prompt does not have."""
    return f"position {position} does not exist in prompt {example}: it has positions 0 to {length - 1}, -1 is the last"


def too_many_tokens(how_many: str, limits: SpecLimits) -> FieldError:
    """More tokens than are allowed."""
    allowed = f"the most is {limits.max_tokens:,} ({knob('max_tokens')}): use fewer or shorter prompts"
    return wrong(("dataset",), f"the two runs have {how_many} in all; {allowed}")


def each_once(draft: Draft) -> None:
    """Count a token once in a set that names it more often, and say so."""
    for name, answer in draft.answers.items():
        if all(isinstance(own, int) for own in answer):
            continue
        sets = [list(dict.fromkeys(own)) if isinstance(own, list) else [own] for own in answer]
        again = [
            example for example, own in enumerate(answer) if isinstance(own, list) and len(own) > len(sets[example])
        ]
        if again:
            which = f"the set of example {again[0]}" + (f" and of {len(again) - 1:,} more" if len(again) > 1 else "")
            draft.warnings.append(f"answer {name}: {which} names a token more than once, which counts once")
            draft.answers[name] = sets


def _check_total(draft: Draft, limits: SpecLimits) -> None:
    total = sum(map(len, draft.orig)) + sum(map(len, draft.new))
    if total > limits.max_tokens:
        draft.problems.append(too_many_tokens(counted(total, "token"), limits))


def _too_long(draft: Draft, architecture: Architecture) -> Iterator[FieldError]:
    """Told of orig alone where both are too long."""
    for example, pair in enumerate(zip_longest(draft.orig, draft.new, fillvalue=[0])):
        for run, prompt in zip(("orig", "new"), pair, strict=True):
            if not 0 < len(prompt) <= architecture.n_ctx:
                allowed = f"this model's context takes 1 to {architecture.n_ctx:,}"
                message = f"{run} prompt {example} has {counted(len(prompt), 'token')}: {allowed}"
                yield wrong(draft.where(run, example), message)
                break


def _unequal(draft: Draft, architecture: Architecture, tokenizer: Tokenizer | None) -> Iterator[FieldError]:
    diffs = 0
    for example, (orig, new) in enumerate(zip(draft.orig, draft.new, strict=False)):
        if len(orig) != len(new):
            message = f"new prompt {example} has {counted(len(new), 'token')} and its orig {len(orig):,}: "
            message += "the two must have the same number of tokens"
            if diffs < MOST_DIFFS and max(len(orig), len(new)) <= architecture.n_ctx:
                diffs += 1
                message += _first_difference(orig, new, tokenizer)
            yield wrong(draft.where("new", example), message)


def _first_difference(orig: list[int], new: list[int], tokenizer: Tokenizer | None) -> str:
    """The first stretch of tokens that has another length in new, such as a name of several tokens."""
    start, stop, new_start, new_stop = _first_uneven(*_without_common_ends(orig, new))
    before, after = written(tokenizer, orig[start:stop]), written(tokenizer, new[new_start:new_stop])
    return f". At position {start}, {before or 'nothing'} became {after or 'nothing'}"


def _without_common_ends(orig: list[int], new: list[int]) -> tuple[int, list[int], list[int]]:
    """Where the two first differ, and what is left of each without the beginning and the end that they share."""
    shortest = min(len(orig), len(new))
    start = next((pos for pos in range(shortest) if orig[pos] != new[pos]), shortest)
    shared = sum(1 for _ in takewhile(lambda back: orig[-back] == new[-back], range(1, shortest - start + 1)))
    return start, orig[start : len(orig) - shared], new[start : len(new) - shared]


def _first_uneven(start: int, orig: list[int], new: list[int]) -> tuple[int, int, int, int]:
    """Bounds in orig and in new of their first stretch of another length; all that is left where that is long."""
    if max(len(orig), len(new)) <= LONGEST_DIFF:
        for _, *bounds in SequenceMatcher(None, orig, new, autojunk=False).get_opcodes():
            first, last, new_first, new_last = (start + bound for bound in bounds)
            if last - first != new_last - new_first:
                return first, last, new_first, new_last
    return start, start + len(orig), start, start + len(new)


def _beyond_vocabulary(draft: Draft, architecture: Architecture) -> Iterator[FieldError]:
    allowed = f"this model's tokens are 0 to {architecture.d_vocab - 1}"
    for run, prompts in (("orig", draft.orig), ("new", draft.new)):
        for example, prompt in enumerate(prompts):
            if prompt and max(prompt) >= architecture.d_vocab:
                pos = next(pos for pos, token in enumerate(prompt) if token >= architecture.d_vocab)
                path = draft.where(run, example)
                yield wrong((*path, pos) if path[1] == run else path, f"token {prompt[pos]} does not exist: {allowed}")
    for name, answer in draft.answers.items():
        for example, own in enumerate(answer):
            for index, token in enumerate(own if isinstance(own, list) else [own]):
                if token >= architecture.d_vocab:
                    path = ("dataset", "answers", name, example, *([index] if isinstance(own, list) else []))
                    yield wrong(path, f"token {token} does not exist: {allowed}")
