"""What reading a whole file tells: its digest, and which of its tensors hold values that are no numbers."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from checkpoints.files import MissingFile, Remembered, open_regular, unreadable
from checkpoints.gguf.header import SUFFIX, read_gguf
from checkpoints.tensors import CHUNK_BYTES, FLOATS, Tensor, chunks, read_header

EXPONENTS = {"F64": 0x7FF << 52, "F32": 0xFF << 23, "F16": 0x1F << 10, "BF16": 0xFF << 7}
"""A float whose exponent bits are all set is infinite or not a number."""


@dataclass(frozen=True)
class Content:
    """What reading a whole file tells."""

    sha256: str
    not_finite: tuple[str, ...]
    """Tensors with a NaN or an infinity."""


def _content(path: Path) -> Content:
    try:
        with open_regular(path) as file:
            total = hashlib.sha256()
            for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                total.update(chunk)
            tensors = _tensors(path)
            not_finite = tuple(name for name, tensor in tensors.items() if not _is_finite(file, tensor))
    except FileNotFoundError as exc:
        raise MissingFile(path.name) from exc
    except OSError as exc:
        raise unreadable(path.name, exc) from exc
    return Content(total.hexdigest(), not_finite)


def _tensors(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == SUFFIX:
        return read_gguf(path).tensors
    return read_header(path) if path.suffix == ".safetensors" else {}


def _is_finite(file: BinaryIO, tensor: Tensor) -> bool:
    """Whether every number is one; what is not of a floating type is."""
    if tensor.dtype not in FLOATS:
        return True
    kind, exponent = FLOATS[tensor.dtype], EXPONENTS[tensor.dtype]
    mask = kind(exponent)
    numbers = (np.frombuffer(chunk, dtype=np.dtype(kind).newbyteorder("<")) for chunk in chunks(file, tensor))
    return not any(((part & mask) == mask).any() for part in numbers)


read_content = Remembered(_content)
"""Digest of one file, and its tensors that are not finite; reads all of it."""
