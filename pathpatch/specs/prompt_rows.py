"""Rows of a file of prompts, each with its place in the file: CSV, JSON lines or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from pathpatch.problems import SpecError

ENDINGS = (".csv", ".jsonl", ".json")


@dataclass(frozen=True)
class Row:
    """One example of the file; every complaint about it names its place and the column."""

    file: str
    place: str
    cells: Mapping[str, Any]

    def wrong(self, column: str, why: str) -> SpecError:
        """A complaint."""
        return SpecError(f"{self.file}, {self.place}, column {column!r}: {why}")

    def cell(self, column: str) -> Any:
        """What stands there."""
        value = self.cells.get(column)
        if value is None or value == "":
            raise self.wrong(column, "it is missing or empty")
        return value

    def text(self, column: str) -> str:
        """A text."""
        value = self.cell(column)
        if not isinstance(value, str):
            raise self.wrong(column, f"{value!r:.60} is no text")
        return value

    def prompt(self, column: str) -> str | list[int]:
        """A prompt, as text or as a list of token ids."""
        value = self.cell(column)
        return self._ids(column, value) if isinstance(value, list) else self.text(column)

    def tokens(self, column: str) -> int | list[int]:
        """One token id, or a set of several."""
        value = self.cell(column)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.wrong(column, f"{value!r:.60} is no token id: it must be a whole number or a list") from None
        ids = self._ids(column, value if isinstance(value, list) else [value])
        return ids[0] if len(ids) == 1 else ids

    def several(self, column: str) -> Any:
        """One answer, or a set of several: texts or token ids."""
        value = self.cell(column)
        answers = value if isinstance(value, list) else [value]
        if not answers or not all(isinstance(answer, str) for answer in answers):
            return self.tokens(column)
        return answers[0] if len(answers) == 1 else answers

    def inside(self, column: str) -> Row:
        """A record within this one."""
        value = self.cell(column)
        if not isinstance(value, dict):
            raise self.wrong(column, f"{value!r:.60} is no record with a prompt of its own")
        return Row(self.file, f"{self.place}, {column}", value)

    def _ids(self, column: str, values: list[Any]) -> list[int]:
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise self.wrong(column, f"{value!r:.60} is no token id: it must be a whole number, 0 or more")
        if not values:
            raise self.wrong(column, "it is an empty list")
        return values


@dataclass(frozen=True)
class PromptsFile:
    """A file's examples, and what it says of all of them."""

    name: str
    rows: list[Row]
    shared: dict[str, Any] = field(default_factory=dict)


def read_rows(path: Path, most: int | None) -> PromptsFile:
    """The first ``most`` examples of a file, or all.

    Raises:
        SpecError: It cannot be read, or has none.
    """
    reader = {".csv": _csv, ".jsonl": _jsonl, ".json": _json}.get(path.suffix.lower())
    if reader is None:
        raise SpecError(f"{path.name} must end in one of {', '.join(ENDINGS)}: prompts are read from these")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise SpecError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SpecError(f"{path.name} is not UTF-8 text: byte {exc.start} fits nowhere") from exc
    rows, shared = reader(path.name, text)
    found = list(islice(rows, most))
    if not found:
        raise SpecError(f"{path.name} has no examples")
    return PromptsFile(path.name, found, shared)


Rows = tuple[Iterator[Row], dict[str, Any]]


def _csv(name: str, text: str) -> Rows:
    def rows() -> Iterator[Row]:
        table = csv.DictReader(StringIO(text, newline=""), strict=True)
        try:
            for cells in table:
                row = Row(name, f"line {table.line_num}", cells)
                if None in cells or None in cells.values():
                    count = len(table.fieldnames or ())
                    raise SpecError(f"{name}, {row.place}: it has not as many cells as the header, which has {count}")
                yield row
        except csv.Error as exc:
            raise SpecError(f"{name}, line {table.reader.line_num}: {exc}") from exc

    return rows(), {}


def _jsonl(name: str, text: str) -> Rows:
    def rows() -> Iterator[Row]:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _row(name, f"line {number}", _loaded(name, line, number))

    return rows(), {}


def _json(name: str, text: str) -> Rows:
    """A list of records, or auto-circuit's object, which says besides where its words stand."""
    content = _loaded(name, text)
    shared = content if isinstance(content, dict) else {}
    records = shared.get("prompts") if shared else content
    if not isinstance(records, list):
        raise SpecError(f'{name}: it must be a list of records, or {{"prompts": [...]}}')
    rows = (_row(name, f"record {number}", record) for number, record in enumerate(records, 1))
    return rows, {key: value for key, value in shared.items() if key in ("word_idxs", "seq_labels")}


def _row(name: str, place: str, record: Any) -> Row:
    if not isinstance(record, dict):
        raise SpecError(f"{name}, {place}: {record!r:.60} is no record")
    return Row(name, place, record)


def _loaded(name: str, text: str, line: int = 1) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as exc:
        raise SpecError(f"{name}, line {exc.lineno + line - 1}, column {exc.colno}: {exc.msg}") from exc
