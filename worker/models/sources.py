"""Where tensors are read from, a few rows at a time: never more than one tensor is in memory beside the weights."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from checkpoints.families.record import Family, Part
from checkpoints.files import MIB, open_regular
from checkpoints.folder import Configuration, is_gguf
from checkpoints.gguf.header import read_gguf
from checkpoints.gguf.values import quantised_types, rows_of
from checkpoints.tensors import Tensor as Entry
from checkpoints.tensors import tensors_of, weight_files
from planning.architecture import Architecture

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
CHUNK_BYTES = 32 * MIB
IN_CHUNKS = ("W_E", "W_U")
"""Roles of tensors that may be a large share of a model, and are placed row by row."""


class Source(Protocol):
    """A checkpoint's tensors."""

    def rows(self, part: Part) -> Iterator[tuple[int, Tensor]]:
        """A tensor's rows in order: the first row's number, and the rows; all at once unless it is large."""
        ...

    def gain_offset(self, family: Family) -> float:
        """What is added to the gain of every norm."""
        ...


class SafetensorsSource:
    """A folder of safetensors files."""

    def __init__(self, folder: Path, family: Family) -> None:
        found = tensors_of(folder, weight_files(folder))
        self._folder = folder
        self._entries: dict[str, Entry] = {family.plain(name): entry for name, entry in found.items()}

    def rows(self, part: Part) -> Iterator[tuple[int, Tensor]]:
        """A tensor's rows."""
        entry = self._entries[part.name]
        n_rows = entry.shape[0]
        row_bytes = (entry.stop - entry.start) // n_rows
        step = rows_at_once(part, row_bytes)
        with open_regular(self._folder / entry.file) as file:
            for first in range(0, n_rows, step):
                file.seek(entry.start + first * row_bytes)
                content = bytearray(min(step, n_rows - first) * row_bytes)
                if file.readinto(content) != len(content):  # type: ignore[attr-defined]
                    raise EOFError(f"{entry.file} ends within {part.name}")
                yield first, torch.frombuffer(content, dtype=DTYPES[entry.dtype]).view(-1, *entry.shape[1:])

    def gain_offset(self, family: Family) -> float:
        """As the family has it."""
        return family.gain_offset


class GgufSource:
    """A GGUF file, whose tensors are dequantised as they are read."""

    def __init__(self, path: Path, architecture: Architecture) -> None:
        self._path = path
        self._architecture = architecture

    def rows(self, part: Part) -> Iterator[tuple[int, Tensor]]:
        """A tensor's rows, in the order of transformers."""
        return ((first, torch.from_numpy(rows)) for first, rows in rows_of(self._path, self._architecture, part))

    def gain_offset(self, family: Family) -> float:
        """None: llama.cpp stores gains as they are multiplied with."""
        return 0.0


def source_of(folder: Path, found: Configuration) -> Source:
    """The tensors of a checkpoint."""
    if is_gguf(folder):
        return GgufSource(folder, found.architecture)
    return SafetensorsSource(folder, found.family)


def dequantised_from(folder: Path) -> tuple[str, ...]:
    """Types of a checkpoint's quantised tensors; of a folder none, for there they are refused."""
    return quantised_types(read_gguf(folder)) if is_gguf(folder) else ()


def rows_at_once(part: Part, row_bytes: int) -> int:
    """How many rows are read together."""
    return max(1, CHUNK_BYTES // row_bytes) if part.role in IN_CHUNKS else max(1, part.shape[0])
