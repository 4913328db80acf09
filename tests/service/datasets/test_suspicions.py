"""What is probably not meant in prompts: validation and result say so, and the prompts are read as they stand."""

import json
from pathlib import Path
from typing import Any

import pytest

import pathpatch as pp
from service.datasets.words import token_ids
from tests.specs_of_demo import PROMPTS, TEMPLATES, TOKENS, catalog, check

KL = {"kind": "kl"}


def ids(text: str) -> list[int]:
    tokenizer = catalog().get("demo").tokenizer
    assert tokenizer is not None
    return token_ids(tokenizer, text)


BOS = catalog().get("demo").bos_id or 0
LONG, SHORT = ids("When Mary and John arrived, John gave a book to"), ids("Tom and Mary met")
PADS = len(LONG) - len(SHORT)
BOOK = ids(" book")
READ = "padding is read as words here"


def tokens(*prompts: list[int]) -> dict[str, Any]:
    other = [[BOOK[0] if token == ids(" Mary")[0] else token for token in prompt] for prompt in prompts]
    return {"kind": "tokens", "orig": [*prompts], "new": other}


def texts(*prompts: str, **changes: Any) -> dict[str, Any]:
    other = [prompt.replace(" John", " Paul") for prompt in prompts]
    return {"kind": "prompts", "orig": [*prompts], "new": other, **changes}


def warnings(dataset: dict[str, Any]) -> list[str]:
    return check(dataset=dataset, metric=KL).warnings


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (tokens(LONG, SHORT + [BOS] * PADS), f"orig prompt 1 has {PADS} tokens {BOS} ("),
        (tokens(LONG, SHORT + [BOS] * PADS), "at its end: padding is read as words here, role 'end' among them"),
        (tokens(LONG, [*SHORT, BOS]), "orig prompt 1 has 1 token"),
        (tokens(LONG, [BOS] * PADS + SHORT), f"orig prompt 1 has {PADS} tokens {BOS} ("),
        (tokens(LONG, SHORT + BOOK * PADS), f"orig prompt 1 has {PADS} tokens {BOOK[0]} (\" book\") at its end"),
        (tokens(LONG, BOOK * PADS + SHORT), "at its beginning: padding is read as words here; give each prompt"),
        (tokens([BOS, BOS, *LONG], [BOS, BOS, *SHORT]), f"orig prompt 0 (and 3 more) begins with {BOS} ("),
        (texts("<|endoftext|>When Mary", prepend_bos=True), "twice: the prompt has one and prepend_bos adds one"),
        (texts("When Mary and John "), "orig prompt 0 (and 1 more) ends in a blank"),
        (texts("When Mary and John \r\n went"), "has a carriage return"),
        (texts("\ufeffWhen Mary and John", "When Mary and Tom"), "orig prompt 0 (and 1 more) has a byte-order mark"),
        ({**TEMPLATES, "templates": ["When [A] and [B] met, [B] gave [OBJECT] to "], "roles": {}}, "template 0 ends"),
    ],
)  # fmt: skip
def test_what_a_file_or_a_notebook_brings_along_is_warned_of(dataset: dict[str, Any], words: str) -> None:
    """The numbers would be silently of other prompts than those that were meant."""
    found = warnings(dataset)
    assert sum(words in warning for warning in found) == 1, found


def test_what_files_bring_along_is_warned_of_too(tmp_path: Path) -> None:
    """A byte-order mark at a file's beginning and its line ends are no part of a prompt; what is in it stays."""
    table, lines = tmp_path / "pairs.csv", tmp_path / "pairs.jsonl"
    table.write_bytes(b"\xef\xbb\xbfclean,corrupted\r\nWhen Mary and John ,When Mary and Paul \r\n")
    assert [" ends in a blank" in one for one in warnings(pp.prompts_from(table).model_dump())] == [True]
    row = {"clean": "When Mary\rand John", "corrupted": "When Mary\rand Paul"}
    lines.write_text(json.dumps(row))
    assert [" has a carriage return" in one for one in warnings(pp.prompts_from(lines).model_dump())] == [True]


@pytest.mark.parametrize(
    "dataset",
    [
        TOKENS,
        PROMPTS,
        TEMPLATES,
        tokens(LONG, SHORT),
        tokens([BOS, *LONG], [BOS, *SHORT]),
        tokens(LONG[:-1] + BOOK * 2, LONG[:-1] + BOOK * 2),
        texts("When Mary and John", prepend_bos=True),
        texts("When Mary or John? Answer: ", answers={"right": ["M"]}),
        {"kind": "induction", "examples": 20, "prepend_bos": True},
    ],
)
def test_prompts_as_they_should_be_are_not(dataset: dict[str, Any]) -> None:
    """A warning that is always there is read by nobody."""
    kinds = (READ, "twice", "blank", "carriage", "byte-order")
    assert not [warning for warning in warnings(dataset) if any(kind in warning for kind in kinds)]
