"""Results as clients read them: stored bytes -> JSON, npz or CSV, in pieces; large ones never in the event loop."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import load

from job_store.records import JobRecord, StoredResult
from service.results.circuits import EAP_IG, eap_ig_json, edge_rows

JSON = "application/json"
NPZ = "application/x-npz"
CSV = "text/csv"
FORMATS = (JSON, NPZ, CSV)
CIRCUIT_FORMATS = (*FORMATS, EAP_IG)
"""Of circuit jobs."""

REQUIRED_ARRAYS = ("patched", "orig", "new")
PER_CELL = ("patched_mean", "patched_sd", "patched_sem", "effect_sem", "reachable", "n_patched", "exact")
"""Arrays over the cells, without an ``example`` axis."""
CSV_ARRAYS = ("patched", "orig", "new", *PER_CELL)
PIECE = 65_536
"""Numbers that are text at one time, or rows of CSV."""

Arrays = dict[str, NDArray[Any]]


def encode(stored: StoredResult, record: JobRecord, media: str, circuit: int = 0) -> bytes:
    """A result in one of the formats."""
    file = io.BytesIO()
    write(stored, record, media, file, circuit)
    return file.getvalue()


def write(stored: StoredResult, record: JobRecord, media: str, file: IO[bytes], circuit: int = 0) -> None:
    """Write a result in one of the formats; beside the arrays themselves only pieces of it are in memory.

    Args:
        circuit: Which of the job's, where the format holds one.
    """
    loaded = load(stored.arrays) if stored.arrays else {}
    arrays = {
        name: np.ascontiguousarray(loaded[name]) if loaded[name].ndim else loaded[name] for name in sorted(loaded)
    }
    document = _head(stored, record)
    asked = record.spec_fields
    decimals, is_list = asked["output"].get("decimals"), asked.get("metrics") is not None
    if media == EAP_IG:
        file.write(eap_ig_json(document["blocks"][0], arrays, circuit))
        return None
    if media == NPZ:
        return _write_npz(document, arrays, is_list, file)
    if decimals is not None:
        arrays = {name: _rounded(array, decimals) for name, array in arrays.items()}
    return file.writelines(_csv(document, arrays) if media == CSV else _json(document, arrays, is_list))


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


def _json(document: dict[str, Any], arrays: Arrays, is_list: bool) -> Iterator[bytes]:
    for index, block in enumerate(document["blocks"]):
        prefix = f"{index}/"
        if "circuits" not in block:
            block |= {name: None for name in REQUIRED_ARRAYS if prefix + name not in arrays}
        for key, array in arrays.items():
            if key.startswith(prefix):
                _put(block, key.removeprefix(prefix).split("/"), array if array.ndim else array[()])
    whole = _flat(document, is_list)
    if sum(array.size for array in arrays.values()) <= PIECE:
        return iter([orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)])
    return _pieces(whole)


def _put(block: Any, path: list[str], array: Any) -> None:
    """An array in its place; those of circuits lie deeper: ``edges/scores``, ``circuits/3/members``."""
    for name in path[:-1]:
        block = block[int(name) if isinstance(block, list) else name]
    block[path[-1]] = array


def _pieces(value: Any) -> Iterator[bytes]:
    """JSON in pieces: only a large array is ever longer than a few of them."""
    if isinstance(value, dict):
        yield from _joined(b"{}", ((orjson.dumps(name) + b":", item) for name, item in value.items()))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _joined(b"[]", ((b"", item) for item in value))
    elif isinstance(value, np.ndarray) and value.size > PIECE:
        yield from _array(value)
    else:
        yield orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _joined(brackets: bytes, items: Iterable[tuple[bytes, Any]]) -> Iterator[bytes]:
    separator = brackets[:1]
    for prefix, item in items:
        yield separator + prefix
        yield from _pieces(item)
        separator = b","
    yield brackets[1:] if separator == b"," else brackets


def _array(array: NDArray[Any]) -> Iterator[bytes]:
    row = array.size // len(array)
    if row > PIECE:
        yield from _joined(b"[]", ((b"", part) for part in array))
        return
    step = PIECE // row
    for start in range(0, len(array), step):
        text = orjson.dumps(array[start : start + step], option=orjson.OPT_SERIALIZE_NUMPY)
        yield (b"," if start else b"[") + text[1:-1]
    yield b"]"


def _write_npz(document: dict[str, Any], arrays: Arrays, is_list: bool, file: IO[bytes]) -> None:
    """``<block>/<field>`` arrays at full precision, and ``head``: the rest as UTF-8 JSON in bytes."""
    head = orjson.dumps(_flat(document, is_list))
    np.savez_compressed(file, head=np.frombuffer(head, dtype=np.uint8), **arrays)  # type: ignore[arg-type]


def _csv(document: dict[str, Any], arrays: Arrays) -> Iterator[bytes]:
    """One row per entry of ``patched``: its coordinates, then its numbers; null is an empty field."""
    if "circuits" in document["blocks"][0]:
        yield from edge_rows(document["blocks"][0], arrays)
        return
    names = list(dict.fromkeys(name for block in document["blocks"] for name in block["coordinates"]))
    yield ",".join(["metric", "title", *map(_field, names), *CSV_ARRAYS]).encode() + b"\r\n"
    for index, block in enumerate(document["blocks"]):
        rows = int(np.prod(block["shape"], dtype=int))
        for start in range(0, rows, PIECE):
            yield _rows(block, arrays, f"{index}/", names, np.arange(start, min(start + PIECE, rows)))


def _rows(block: dict[str, Any], arrays: Arrays, prefix: str, names: list[str], rows: NDArray[Any]) -> bytes:
    """Some rows of one block, by their places in the flattened ``patched``."""
    shape = tuple(block["shape"])
    index = np.unravel_index(rows, shape) if shape else ()
    columns = [[_field(block["metric"].get(name))] * len(rows) for name in ("kind", "title")]
    columns += [_coordinate_column(block, name, index, len(rows)) for name in names]
    found = {name: arrays.get(prefix + name) for name in CSV_ARRAYS}
    if "example" in block["axes"]:  # what a cell has once stands beside each of its examples
        found |= {name: found[name][..., None] for name in PER_CELL if found[name] is not None}  # type: ignore[index]
    columns += [_number_column(array, shape, index, len(rows)) for array in found.values()]
    return "".join(",".join(row) + "\r\n" for row in zip(*columns, strict=True)).encode()


def _field(value: Any) -> str:
    """One field of CSV, quoted where need be."""
    if value is None:
        return ""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([value])
    return text.getvalue()


def _coordinate_column(block: dict[str, Any], name: str, index: tuple[NDArray[Any], ...], rows: int) -> list[str]:
    """With ``reduce: top`` the coordinates of the one axis have several names."""
    if name not in block["coordinates"]:
        return [""] * rows
    values = block["coordinates"][name]
    axis = block["axes"].index(name) if name in block["axes"] else 0
    places = index[axis].tolist() if index else [0] * rows
    texts = {place: _field(values[place]) for place in set(places)}
    return [texts[place] for place in places]


def _number_column(
    array: NDArray[Any] | None, shape: tuple[int, ...], index: tuple[NDArray[Any], ...], rows: int
) -> list[str]:
    """The array at each entry of ``patched``; empty where it has other axes."""
    if array is None:
        return [""] * rows
    try:
        spread = np.broadcast_to(array, shape)
    except ValueError:
        return [""] * rows
    values = np.ascontiguousarray(spread[index]).reshape(rows)
    texts = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")
    return ["" if text == "null" else text for text in texts]
