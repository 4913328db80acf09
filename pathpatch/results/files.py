"""Results on disk: npz (arrays, and the rest as JSON inside it), JSON or CSV. Nothing is ever unpickled."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from api_schemas.errors import PathPatchingError
from pathpatch.results.block import ARRAY_FIELDS
from pathpatch.results.data import ResultData
from pathpatch.results.tables import to_dataframe

HEAD_ENTRY = "head"
ENDINGS = (".npz", ".json", ".csv")
PICTURES = (".png", ".svg", ".pdf", ".html", ".jpg", ".jpeg")


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


class UnknownEnding(PathPatchingError, ValueError):
    """A file name whose ending is no format of a result."""

    code = "unknown_file_ending"
    title = "The file's ending is no format of a result"

    def __init__(self, path: Path) -> None:
        said = f"{path.name} ends in {path.suffix!r}, and a result is saved as one of {', '.join(ENDINGS)}"
        drawn = f"; draw a picture of it with result.figure(), or pathpatch result JOB --plot {path.name}"
        super().__init__(said + (drawn if path.suffix in PICTURES else ""))


def save(result: ResultData, path: Path) -> Path:
    """Write the result to ``path``, in the format of its ending (npz where it has none); returns the path written.

    Raises:
        UnknownEnding: It is no format of a result.
    """
    path = path if path.suffix else path.with_name(f"{path.name}.npz")
    if path.suffix not in ENDINGS:
        raise UnknownEnding(path)
    path.write_bytes(to_bytes(result, path.suffix))
    return path


def to_bytes(result: ResultData, ending: str) -> bytes:
    """The result in one of the formats of ``ENDINGS``; csv needs pandas."""
    if ending == ".json":
        return json.dumps(result.to_json(), allow_nan=False).encode()
    if ending == ".csv":
        text: str = to_dataframe(result).to_csv(index=False)
        return text.encode()
    return to_npz(result)


def load(path: Path) -> dict[str, Any]:
    """What ``save`` wrote, or the JSON that the service answered; for ``Result.from_json``."""
    if path.suffix == ".json":
        body: dict[str, Any] = json.loads(path.read_text())
        return body
    return from_npz(path.read_bytes())
