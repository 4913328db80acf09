"""Tensors of safetensors files, without torch, from their headers alone."""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from checkpoints.files import (
    MAX_JSON_BYTES,
    MIB,
    MissingFile,
    Remembered,
    UnusableCheckpoint,
    open_regular,
    read_json,
    unreadable,
)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
CHUNK_BYTES = 8 * MIB
"""A multiple of every number's size."""

FLOATS = {"F64": np.uint64, "F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}


@dataclass(frozen=True)
class Tensor:
    """One tensor, as the header of its file states it."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """First byte in the file."""
    stop: int


def weight_files(folder: Path) -> list[str]:
    """Names of the files that hold the weights; as transformers chooses, a single file before an index.

    Raises:
        UnusableCheckpoint: The index is damaged, or names a file that is not there.
        MissingFile: There are none, or only pickles.
    """
    if (folder / WEIGHTS).exists():
        return [WEIGHTS]
    try:
        names = sorted(set(read_json(folder / INDEX)["weight_map"].values()))
    except FileNotFoundError:
        raise _no_weights(folder) from None
    except (KeyError, AttributeError, TypeError) as exc:
        raise UnusableCheckpoint(f"{INDEX} is damaged ({type(exc).__name__})") from exc
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).exists():
            raise UnusableCheckpoint(f"{name!r}, which its index names, is not there")
    return names


def _no_weights(folder: Path) -> UnusableCheckpoint:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if not pickles:
        return MissingFile(WEIGHTS)
    return UnusableCheckpoint(
        f"it holds only {', '.join(pickles)}; pickled weights are never loaded because they can run code: "
        "convert it to safetensors (save_pretrained of transformers writes them)"
    )


def tensors_of(folder: Path, files: list[str]) -> dict[str, Tensor]:
    """Every tensor of these files by its name.

    Raises:
        UnusableCheckpoint: A file is damaged, or a name stands in two of them.
    """
    found: dict[str, Tensor] = {}
    for file in files:
        header = read_header(folder / file)
        if twice := found.keys() & header.keys():
            name = min(twice)
            raise UnusableCheckpoint(f"tensor {name} is in both {found[name].file} and {file}")
        found |= header
    return found


def _header(path: Path) -> dict[str, Tensor]:
    try:
        with open_regular(path) as file:
            return _parse_header(path.name, file, path.stat().st_size)
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as exc:
        raise UnusableCheckpoint(f"{path.name} is truncated or not safetensors ({exc})") from exc
    except FileNotFoundError as exc:
        raise MissingFile(path.name) from exc
    except OSError as exc:
        raise unreadable(path.name, exc) from exc


def _parse_header(name: str, file: BinaryIO, size: int) -> dict[str, Tensor]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MAX_JSON_BYTES:
        raise ValueError(f"its header states {length} bytes")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    header.pop("__metadata__", None)
    first = 8 + length
    tensors = {}
    for tensor, entry in header.items():
        start, stop = map(int, entry["data_offsets"])
        tensors[tensor] = Tensor(
            name, str(entry["dtype"]), tuple(map(int, entry["shape"])), first + start, first + stop
        )
    _check_layout(tensors, first, size)
    return tensors


def _check_layout(tensors: Mapping[str, Tensor], first: int, size: int) -> None:
    """Tensors lie one after the other and fill the file, each as long as its shape says.

    Raises:
        ValueError: They do not.
    """
    end = first
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].start):
        length = tensor.stop - tensor.start
        if tensor.start != end or length < 0 or min(tensor.shape, default=0) < 0:
            raise ValueError(f"the offsets of {name} are wrong")
        bits = _bits(tensor.dtype)
        if bits and prod(tensor.shape) * bits != 8 * length:
            raise ValueError(f"{name} has another length than its shape says")
        end = tensor.stop
    if end != size:
        raise ValueError(f"it states {end} bytes and has {size}")


def _bits(dtype: str) -> int:
    """Bits of one number, for the types that are loaded; 0 for others, which are refused by name."""
    return 8 * np.dtype(FLOATS[dtype]).itemsize if dtype in FLOATS else 0


def chunks(file: BinaryIO, tensor: Tensor) -> Iterator[bytes]:
    """A tensor's bytes, some at a time."""
    file.seek(tensor.start)
    left = tensor.stop - tensor.start
    while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk


def are_equal(folder: Path, one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bytes."""
    digests = []
    for tensor in (one, other):
        with open_regular(folder / tensor.file) as file:
            total = hashlib.sha256()
            for chunk in chunks(file, tensor):
                total.update(chunk)
            digests.append((tensor.dtype, tensor.shape, total.digest()))
    return digests[0] == digests[1]


read_header = Remembered(_header)
"""Tensors of one file by name, from its header alone."""
