"""Datasets: the prompts of both runs, and which positions and tokens have names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from api_schemas.datasets import (
    GreaterThanDataset,
    InductionDataset,
    IoiDataset,
    PromptsDataset,
    TemplatesDataset,
    TokensDataset,
)
from pathpatch.specs.building import build

Dataset = IoiDataset | GreaterThanDataset | InductionDataset | PromptsDataset | TokensDataset | TemplatesDataset


def ioi(
    examples: int = 100,
    *,
    seed: int = 0,
    prompt_type: Literal["mixed", "ABBA", "BABA"] = "mixed",
    new: Literal["abc", "swapped"] = "abc",
    prepend_bos: bool | None = None,
    swap: bool = False,
) -> IoiDataset:
    """Indirect-object prompts (Wang et al. 2022); roles ``IO S1 S1+1 S2 end``, answers ``IO S``.

    Args:
        new: ``abc``: every name replaced by an unrelated one; ``swapped``: IO and S exchanged.
        prepend_bos: Whether prompts begin with the beginning-of-text token; None: as the model's tokenizer does.
        swap: The two runs change places: denoising instead of noising.
    """
    shared = {"prepend_bos": prepend_bos, "swap": swap}
    return build(IoiDataset, kind="ioi", examples=examples, seed=seed, prompt_type=prompt_type, new=new, **shared)


def greater_than(
    examples: int, seed: int = 0, *, prepend_bos: bool | None = None, swap: bool = False
) -> GreaterThanDataset:
    """Years that must be larger (Hanna et al. 2023); roles ``YY end``, answers ``after not_after``, which are sets."""
    shared = {"prepend_bos": prepend_bos, "swap": swap}
    return build(GreaterThanDataset, kind="greater_than", examples=examples, seed=seed, **shared)


def induction(
    examples: int,
    seed: int = 0,
    length: int = 25,
    new: Literal["half", "token"] = "half",
    *,
    prepend_bos: bool | None = None,
    swap: bool = False,
) -> InductionDataset:
    """Random tokens that repeat, ``[A][B] ... [A]``; roles ``A1 B1 end``, answers ``B`` and ``other``.

    Args:
        length: Different tokens before they repeat.
        new: ``half`` draws the whole first half again, so that nothing repeats; ``token`` only A there.
    """
    shared = {"prepend_bos": prepend_bos, "swap": swap}
    return build(InductionDataset, kind="induction", examples=examples, seed=seed, length=length, new=new, **shared)


def prompts(
    orig: Sequence[str],
    new: Sequence[str],
    *,
    roles: Mapping[str, Any] | None = None,
    answers: Mapping[str, Sequence[str] | Sequence[int] | Sequence[Sequence[str]] | Sequence[Sequence[int]]]
    | None = None,
    prepend_bos: bool | None = None,
    swap: bool = False,
) -> PromptsDataset:
    """Your own prompts as text; each pair must have as many tokens.

    Args:
        roles: Name -> one position per example (negative from the end), or one string found in its orig prompt.
        answers: Name -> one single-token string per example, usually with its leading space; or one token id each; or
            a list of either, which is a set.
    """
    named = {"roles": dict(roles or {}), "answers": dict(answers or {})}
    return build(PromptsDataset, kind="prompts", orig=orig, new=new, **named, prepend_bos=prepend_bos, swap=swap)


def tokens(
    orig: Sequence[Sequence[int]],
    new: Sequence[Sequence[int]],
    *,
    roles: Mapping[str, Sequence[int]] | None = None,
    answers: Mapping[str, Sequence[int] | Sequence[Sequence[int]]] | None = None,
    swap: bool = False,
) -> TokensDataset:
    """Your own prompts as token ids; each pair must be of equal length. Arrays and tensors are taken too.

    Args:
        answers: Name -> one token id per example, or a list of them, which is a set.
    """
    named = {"roles": dict(roles or {}), "answers": dict(answers or {})}
    return build(TokensDataset, kind="tokens", orig=orig, new=new, **named, swap=swap)


def templates(
    templates: Sequence[str],
    slots: Mapping[str, Sequence[str] | Sequence[Sequence[str]]],
    new: Mapping[str, str],
    *,
    examples: int,
    roles: Mapping[str, Any] | None = None,
    answers: Mapping[str, str | Mapping[str, str]] | None = None,
    seed: int = 0,
    prepend_bos: bool | None = None,
    swap: bool = False,
) -> TemplatesDataset:
    """Prompts drawn from templates with slots in brackets: ``"When [A] and [B] went to the [PLACE], ..."``.

    Args:
        slots: Name -> its fillers; or lists of strings, which are sets of answers.
        new: Name -> ``redraw``, or the slot whose filler it takes.
        roles: Name -> a slot, ``{"slot": "B", "occurrence": 1}``, or a position (negative from the end).
        answers: Name -> the slot whose orig filler is the answer; or a slot with one list, or
            ``{"slot": "AFTER", "by": "YY"}``, whose lists belong to the fillers of ``by`` one by one.
    """
    given = {"templates": list(templates), "slots": dict(slots), "new": dict(new), "seed": seed}
    named = {"roles": dict(roles or {}), "answers": dict(answers or {})}
    drawn = {"examples": examples, "prepend_bos": prepend_bos, "swap": swap}
    return build(TemplatesDataset, kind="templates", **given, **named, **drawn)
