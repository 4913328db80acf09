"""Results on disk: arrays as npz, everything else as JSON inside it. Nothing is ever unpickled."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pathpatch.results import ARRAY_FIELDS, Result

HEAD_ENTRY = "head"


def to_npz(result: Result) -> bytes:
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


def from_npz(data: bytes, spec: dict[str, Any] | None = None) -> Result:
    """A result from the bytes of an npz file.

    Raises:
        ValueError: It is not such a file.
    """
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        if HEAD_ENTRY not in arrays:
            raise ValueError(f"this npz file has no entry {HEAD_ENTRY!r}: pathpatch did not write it")
        head = json.loads(bytes(arrays[HEAD_ENTRY]).decode())
        for index, body in enumerate(head.get("blocks", [head])):
            prefix = f"{index}/"
            body |= {key.removeprefix(prefix): arrays[key] for key in arrays.files if key.startswith(prefix)}
    return Result.from_json(head, spec)


def save(result: Result, path: Path) -> Path:
    """Write the result to ``path`` (``.json``, else npz); returns the path written."""
    if path.suffix == ".json":
        path.write_text(json.dumps(result.to_json(), allow_nan=False))
        return path
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    path.write_bytes(to_npz(result))
    return path


def load(path: Path) -> Result:
    """Read a result that ``save`` wrote, or the JSON that the service answered."""
    if path.suffix == ".json":
        return Result.from_json(json.loads(path.read_text()))
    return from_npz(path.read_bytes())
