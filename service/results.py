"""Results as clients read them: stored bytes -> JSON, npz or CSV. All functions are meant for a thread."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import load

from job_store.records import JobRecord, StoredResult

JSON = "application/json"
NPZ = "application/x-npz"
CSV = "text/csv"
FORMATS = (JSON, NPZ, CSV)

REQUIRED_ARRAYS = ("patched", "orig", "new")
CSV_ARRAYS = ("patched", "orig", "new", "patched_sd", "patched_sem", "reachable")

Arrays = dict[str, NDArray[Any]]


def encode(stored: StoredResult, record: JobRecord, media: str) -> bytes:
    """The result in one of ``FORMATS``."""
    loaded = load(stored.arrays) if stored.arrays else {}
    arrays = {name: loaded[name] for name in sorted(loaded)}
    document = _head(stored, record)
    decimals, is_list = record.spec.output.decimals, record.spec.metrics is not None
    if media == NPZ:
        return _npz(document, arrays, is_list)
    if decimals is not None:
        arrays = {name: _rounded(array, decimals) for name, array in arrays.items()}
    return _csv(document, arrays) if media == CSV else _json(document, arrays, is_list)


def _head(stored: StoredResult, record: JobRecord) -> dict[str, Any]:
    """Everything but the arrays, with ``blocks`` as a list; job and timings come from the record."""
    document: dict[str, Any] = {"job_id": record.id} | orjson.loads(stored.head)
    document["timings"] = timings(record)
    return document


def timings(record: JobRecord) -> dict[str, float]:
    """Seconds; a job that another's result answered neither waited nor ran."""
    started = record.started_ms
    if started is None or record.finished_ms is None:
        return {"queued_s": 0.0, "run_s": 0.0}
    queued_ms, run_ms = started - record.created_ms, record.finished_ms - started
    return {"queued_s": max(0, queued_ms) / 1000, "run_s": max(0, run_ms) / 1000}


def _rounded(array: NDArray[Any], decimals: int) -> NDArray[Any]:
    return np.round(array, decimals) if array.dtype.kind == "f" else array


def _flat(document: dict[str, Any], is_list: bool) -> dict[str, Any]:
    """The block of a spec's one `metric` lies flat in the result; those of `metrics` stay a list."""
    if is_list:
        return document
    rest = {name: value for name, value in document.items() if name != "blocks"}
    return {**rest, **document["blocks"][0]}


def _json(document: dict[str, Any], arrays: Arrays, is_list: bool) -> bytes:
    for index, block in enumerate(document["blocks"]):
        prefix = f"{index}/"
        block |= {name: None for name in REQUIRED_ARRAYS if prefix + name not in arrays}
        for key, array in arrays.items():
            if key.startswith(prefix):
                block[key.removeprefix(prefix)] = np.ascontiguousarray(array) if array.ndim else array[()]
    return orjson.dumps(_flat(document, is_list), option=orjson.OPT_SERIALIZE_NUMPY)


def _npz(document: dict[str, Any], arrays: Arrays, is_list: bool) -> bytes:
    """``<block>/<field>`` arrays at full precision, and ``head``: the rest as UTF-8 JSON in bytes."""
    head = orjson.dumps(_flat(document, is_list))
    file = io.BytesIO()
    np.savez_compressed(file, head=np.frombuffer(head, dtype=np.uint8), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _csv(document: dict[str, Any], arrays: Arrays) -> bytes:
    """One row per entry of ``patched``: its coordinates, then its numbers; null is an empty field."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    names = list(dict.fromkeys(name for block in document["blocks"] for name in _axis_names(block)))
    writer.writerow(["metric", *names, *CSV_ARRAYS])
    for index, block in enumerate(document["blocks"]):
        writer.writerows(_rows(block, arrays, f"{index}/", names))
    return file.getvalue().encode()


def _axis_names(block: dict[str, Any]) -> list[str]:
    """Axes, and with ``reduce: top`` what the coordinates of its one axis are called."""
    return list(block["coordinates"])


def _rows(block: dict[str, Any], arrays: Arrays, prefix: str, names: list[str]) -> Iterator[list[Any]]:
    shape = tuple(block["shape"])
    own = {name: _coordinate_column(block, name, shape) for name in names}
    columns = [_number_column(arrays.get(prefix + name), shape) for name in CSV_ARRAYS]
    kind = block["metric"]["kind"]
    for row in range(int(np.prod(shape, dtype=int))):
        yield [kind, *(column[row] for column in own.values()), *(column[row] for column in columns)]


def _coordinate_column(block: dict[str, Any], name: str, shape: tuple[int, ...]) -> list[Any]:
    rows = int(np.prod(shape, dtype=int))
    if name not in block["coordinates"]:
        return [None] * rows
    values = block["coordinates"][name]
    axis = block["axes"].index(name) if name in block["axes"] else 0
    index = np.indices(shape, sparse=False)[axis].ravel() if shape else np.zeros(1, dtype=int)
    return [values[place] for place in index.tolist()]


def _number_column(array: NDArray[Any] | None, shape: tuple[int, ...]) -> list[Any]:
    """The array at each entry of ``patched``; empty where it has other axes."""
    rows = int(np.prod(shape, dtype=int))
    if array is None:
        return [None] * rows
    try:
        spread = np.broadcast_to(array, shape).ravel()
    except ValueError:
        return [None] * rows
    if spread.dtype.kind != "f":
        return [str(value).lower() for value in spread.tolist()]
    return [str(value) if np.isfinite(value) else None for value in spread]
