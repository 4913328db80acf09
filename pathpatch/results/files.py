"""Results on disk: arrays as npz, everything else as JSON inside it. Nothing is ever unpickled."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pathpatch.results.block import ARRAY_FIELDS
from pathpatch.results.data import ResultData

HEAD_ENTRY = "head"


def to_npz(result: ResultData) -> bytes:
    """The result as one npz file: ``<block>/<field>`` arrays and ``head``, the rest as UTF-8 JSON."""
    head = result.to_json()
    arrays: dict[str, Any] = {}
    for index, (block, body) in enumerate(zip(result.blocks, head.get("blocks", [head]), strict=True)):
        for name in ARRAY_FIELDS:
            body.pop(name)
            array = getattr(block, name)
            if array is not None:
                arrays[f"{index}/{name}"] = array
    arrays[HEAD_ENTRY] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    file = BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def from_npz(data: bytes) -> dict[str, Any]:
    """What ``Result.from_json`` reads, from the bytes of an npz file; the arrays stay arrays.

    Raises:
        ValueError: It is not such a file.
    """
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        if HEAD_ENTRY not in arrays:
            raise ValueError(f"this npz file has no entry {HEAD_ENTRY!r}: pathpatch did not write it")
        head: dict[str, Any] = json.loads(bytes(arrays[HEAD_ENTRY]).decode())
        for index, body in enumerate(head.get("blocks", [head])):
            prefix = f"{index}/"
            body |= {key.removeprefix(prefix): arrays[key] for key in arrays.files if key.startswith(prefix)}
    return head


def save(result: ResultData, path: Path) -> Path:
    """Write the result to ``path`` (``.json``, else npz); returns the path written."""
    if path.suffix == ".json":
        path.write_text(json.dumps(result.to_json(), allow_nan=False))
        return path
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    path.write_bytes(to_npz(result))
    return path


def load(path: Path) -> dict[str, Any]:
    """What ``save`` wrote, or the JSON that the service answered; for ``Result.from_json``."""
    if path.suffix == ".json":
        body: dict[str, Any] = json.loads(path.read_text())
        return body
    return from_npz(path.read_bytes())
