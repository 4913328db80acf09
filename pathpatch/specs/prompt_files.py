"""Prompts from the files of the field: EAP-IG's tables, auto-circuit's JSON, the MIB benchmark's records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api_schemas.datasets import PromptsDataset, TokensDataset
from pathpatch.problems import SpecError
from pathpatch.specs.building import build
from pathpatch.specs.prompt_rows import PromptsFile, Row, read_rows

EAP_IG_ANSWERS = {
    "correct": ("correct_idx", "clean_answer_idx", "country_idx", "answers_idx"),
    "incorrect": ("incorrect_idx", "corrupted_answer_idx", "corrupted_country_idx", "corrupted_answers_idx"),
}
"""Columns of token ids that EAP-IG's tasks use for the answer of the clean prompt, and for the other one."""
_COUNTERFACTUAL = "_counterfactual"
_OF_MIB = "s2_io_flip"
"""The benchmark's own choice for its IOI task."""


@dataclass
class _Examples:
    """What the examples of a file say, in order."""

    orig: list[Any] = field(default_factory=list)
    new: list[Any] = field(default_factory=list)
    answers: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def named_answers(self) -> dict[str, list[Any]]:
        """The answers; where one example has a set, all have."""
        return {
            name: [one if isinstance(one, list) else [one] for one in given]
            if any(isinstance(one, list) for one in given)
            else given
            for name, given in self.answers.items()
        }

    def add(self, orig: Any, new: Any, **answers: Any) -> None:
        self.orig.append(orig)
        self.new.append(new)
        for name, answer in answers.items():
            self.answers.setdefault(name, []).append(answer)


def prompts_from(
    path: str | Path,
    *,
    examples: int | None = None,
    counterfactual: str | None = None,
    prepend_bos: bool | None = None,
    swap: bool = False,
) -> PromptsDataset | TokensDataset:
    """Your own prompts from a file; the answers are called ``correct`` and ``incorrect``.

    A ``.csv``, ``.jsonl`` or ``.json`` file in one of three formats, told apart by their fields:

    - EAP-IG: ``clean``, ``corrupted``, and answers as token ids in ``correct_idx`` and ``incorrect_idx`` (or the names
      of its other tasks), or as text in ``correct`` and ``incorrect``;
    - auto-circuit: ``prompts``, each with ``clean``, ``corrupt``, ``answers`` and ``wrong_answers``;
    - MIB benchmark: ``prompt``, ``choices``, ``answerKey``, and the same of each counterfactual.

    Args:
        examples: Only so many, from the beginning of the file.
        counterfactual: Of MIB's records, which prompt is ``new``, such as ``abc``; by default the only one, else
            ``s2_io_flip``.
        prepend_bos: By default what the file says (auto-circuit's ``seq_labels``), else as the model's tokenizer
            does.
        swap: The two runs change places: denoising instead of noising.

    Raises:
        SpecError: The file cannot be read; names the line and the column of what does not fit.
    """
    file = read_rows(Path(path).expanduser(), examples)
    found = _reader_of(file, counterfactual)(file)
    roles = _roles(file, len(found.orig))
    said_bos = file.shared.get("seq_labels", [None])[:1] == ["BOS"]
    shared = {"orig": found.orig, "new": found.new, "answers": found.named_answers, "roles": roles, "swap": swap}
    if isinstance(found.orig[0], list):
        return build(TokensDataset, kind="tokens", **shared)
    bos = True if prepend_bos is None and said_bos else prepend_bos
    return build(PromptsDataset, kind="prompts", prepend_bos=bos, **shared)


def _reader_of(file: PromptsFile, counterfactual: str | None) -> Callable[[PromptsFile], _Examples]:
    names = set(file.rows[0].cells)
    if {"clean", "corrupted"} <= names:
        return _eap_ig
    if {"clean", "corrupt"} <= names:
        return _auto_circuit
    counterfactuals = sorted(name for name in names if name.endswith(_COUNTERFACTUAL))
    if "prompt" in names and counterfactuals:
        chosen = _chosen(file, counterfactuals, counterfactual)
        return lambda whole: _mib(whole, chosen)
    raise SpecError(
        f"{file.name}: its fields are {', '.join(sorted(names))}. It must have clean and corrupted (EAP-IG), clean and "
        f"corrupt (auto-circuit), or prompt and a field ending in {_COUNTERFACTUAL} (MIB)"
    )


def _eap_ig(file: PromptsFile) -> _Examples:
    found = _Examples()
    columns = {answer: _answer_column(file, answer) for answer in EAP_IG_ANSWERS}
    if columns["correct"] is not None and columns["incorrect"] is None:
        allowed = ", ".join((*EAP_IG_ANSWERS["incorrect"], "incorrect"))
        raise SpecError(
            f"{file.name}: it has the column {columns['correct']!r}, and for the other answer none of {allowed} "
            "(in a table of greater-than, correct_idx is a year and no token)"
        )
    for row in file.rows:
        answers = {answer: _answer_of(row, column) for answer, column in columns.items() if column is not None}
        found.add(row.prompt("clean"), row.prompt("corrupted"), **answers)
    return found


def _answer_column(file: PromptsFile, answer: str) -> str | None:
    return next((name for name in (*EAP_IG_ANSWERS[answer], answer) if name in file.rows[0].cells), None)


def _answer_of(row: Row, column: str) -> Any:
    return row.tokens(column) if column.endswith("_idx") else row.text(column)


def _auto_circuit(file: PromptsFile) -> _Examples:
    found = _Examples()
    named = [(ours, theirs) for ours, theirs in (("correct", "answers"), ("incorrect", "wrong_answers"))
             if theirs in file.rows[0].cells]  # fmt: skip
    for row in file.rows:
        found.add(row.prompt("clean"), row.prompt("corrupt"), **{ours: row.several(theirs) for ours, theirs in named})
    return found


def _roles(file: PromptsFile, count: int) -> dict[str, list[int]]:
    """auto-circuit names positions once for all prompts."""
    return {role: [position] * count for role, position in file.shared.get("word_idxs", {}).items()}


def _chosen(file: PromptsFile, counterfactuals: Sequence[str], asked: str | None) -> str:
    """The field of the counterfactual that is ``new``."""
    names = [name.removesuffix(_COUNTERFACTUAL) for name in counterfactuals]
    name = asked or (names[0] if len(names) == 1 else _OF_MIB)
    if name not in names:
        why = f"there is no counterfactual {name!r}" if asked else "there are several counterfactuals"
        raise SpecError(f"{file.name}: {why}; choose one of {', '.join(names)}")
    return name + _COUNTERFACTUAL


def _mib(file: PromptsFile, counterfactual: str) -> _Examples:
    """The other answer is the counterfactual's own; where that is the same, the other of two choices."""
    found = _Examples()
    for row in file.rows:
        other = row.inside(counterfactual)
        correct, incorrect = _mib_answer(row), _mib_answer(other)
        if incorrect == correct:
            incorrect = _other_choice(row, correct)
        found.add(row.prompt("prompt"), other.prompt("prompt"), correct=correct, incorrect=incorrect)
    return found


def _mib_answer(row: Row) -> str:
    if "label" in row.cells:
        return _after(row, str(row.cells["label"]))
    choices = _choices(row)
    key = row.cells.get("answerKey")
    if not isinstance(key, int) or not 0 <= key < len(choices):
        raise row.wrong("answerKey", f"{key!r} is none of the choices, which are counted from 0 to {len(choices) - 1}")
    return _after(row, choices[key])


def _other_choice(row: Row, correct: str) -> str:
    others = [choice for choice in (_after(row, choice) for choice in _choices(row)) if choice != correct]
    if len(others) != 1:
        raise row.wrong("choices", f"the counterfactual has the same answer, and {len(others)} other choices are left")
    return others[0]


def _choices(row: Row) -> list[str]:
    """Plain choices, or the letters of a multiple choice."""
    choices = row.cells.get("choices")
    listed = choices.get("label") if isinstance(choices, dict) else choices
    if not isinstance(listed, list) or not all(isinstance(choice, str) for choice in listed):
        raise row.wrong("choices", "it must be a list of texts")
    return listed


def _after(row: Row, answer: str) -> str:
    """The answer as it follows the prompt: with a space between the two.

    Where the choices are words, a space at the prompt's end is a stray one: validation warns of it.
    """
    prompt = str(row.cells.get("prompt", ""))
    is_led_in = prompt.endswith("\n") or (prompt.endswith(" ") and not isinstance(row.cells.get("choices"), list))
    return answer if answer[:1].isspace() or is_led_in else f" {answer}"
