"""The header of a GGUF file: its metadata, and where its tensors lie. Every length is checked against the file's size.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from checkpoints.files import MIB, MissingFile, Remembered, UnusableCheckpoint, open_regular, unreadable
from checkpoints.tensors import Tensor

SUFFIX = ".gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER_BYTES = 256 * MIB
MAX_DEPTH = 3
STRING, ARRAY = 8, 9
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""``struct`` formats of metadata values, by the number of their type."""
PLAIN_TYPES = {"F64": "F64", "F32": "F32", "F16": "F16", "BF16": "BF16"}
"""Types of numbers that are not quantised."""


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    """By the file's own names; rows first, as torch has them."""


class _Cursor:
    """Reads values one after the other, and never beyond the end of what there is."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.place = 0

    def take(self, n_bytes: int) -> bytes:
        if n_bytes > len(self._content) - self.place:
            raise ValueError("its header ends before it is complete")
        found = self._content[self.place : self.place + n_bytes]
        self.place += n_bytes
        return found

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def text(self) -> str:
        return self.take(self.number("<Q")).decode()

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self._array(depth)
        if kind not in SCALARS:
            raise ValueError(f"its metadata have a value of type {kind}")
        return self.number(SCALARS[kind])

    def _array(self, depth: int) -> list[Any]:
        kind, length = self.number("<I"), self.number("<Q")
        if depth == MAX_DEPTH:
            raise ValueError("its metadata are nested too deep")
        if kind in SCALARS:
            form = SCALARS[kind]
            content = self.take(length * struct.calcsize(form))
            return [value for (value,) in struct.iter_unpack(form, content)]
        return [self.value(kind, depth + 1) for _ in range(length)]


def _header(path: Path) -> Header:
    try:
        with open_regular(path) as file:
            return _parse(path.name, file, path.stat().st_size)
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError, struct.error) as exc:
        raise UnusableCheckpoint(f"{path.name} is truncated or not a GGUF file ({exc})") from exc
    except FileNotFoundError as exc:
        raise MissingFile(path.name) from exc
    except OSError as exc:
        raise unreadable(path.name, exc) from exc


def _parse(name: str, file: BinaryIO, size: int) -> Header:
    cursor = _Cursor(file.read(min(size, MAX_HEADER_BYTES)))
    if cursor.take(4) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version = cursor.number("<I")
    if version not in VERSIONS:
        raise ValueError(f"it is of version {version}, and versions {' and '.join(map(str, VERSIONS))} are known")
    n_tensors, n_values = cursor.number("<Q"), cursor.number("<Q")
    metadata: dict[str, Any] = {}
    for _ in range(n_values):
        key, kind = cursor.text(), cursor.number("<I")
        metadata[key] = cursor.value(kind)
    stated = [_stated(cursor) for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", 32)
    first = -(-cursor.place // alignment) * alignment
    tensors = {key: _tensor(name, key, shape, kind, first + start) for key, shape, kind, start in stated}
    if len(tensors) != n_tensors:
        raise ValueError("two of its tensors have one name")
    end = max((tensor.stop for tensor in tensors.values()), default=first)
    if end > size:
        raise ValueError(f"it states {end} bytes and has {size}")
    return Header(metadata, tensors)


def _stated(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, type and first byte of a tensor; GGUF's sizes run from the innermost."""
    name, n_dims = cursor.text(), cursor.number("<I")
    shape = tuple(cursor.number("<Q") for _ in range(n_dims))[::-1]
    return name, shape, cursor.number("<I"), cursor.number("<Q")


def _tensor(file: str, name: str, shape: tuple[int, ...], kind: int, start: int) -> Tensor:
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    dtype = GGMLQuantizationType(kind)
    block, block_bytes = GGML_QUANT_SIZES[dtype]
    if not shape or shape[-1] % block:
        raise ValueError(f"rows of {name} are no whole blocks of {block} numbers")
    return Tensor(file, dtype.name, shape, start, start + prod(shape) // block * block_bytes)


read_gguf = Remembered(_header)
"""Header of a GGUF file."""
