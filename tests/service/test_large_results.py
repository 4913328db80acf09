"""Large results are made beside the service and sent from disk: its memory stays as it was."""

import gzip
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import psutil
import pytest

from job_store import jobs
from job_store.store import JobStore
from service.results import formats
from tests.live_service import HandMade, LiveService, WorkerHand, spec

pytestmark = pytest.mark.integration

MIB = 2**20
ALLOWED_MIB = 24


def _finished(client: httpx.Client, worker: WorkerHand, shape: list[int]) -> dict[str, Any]:
    """A job with a result of this shape."""
    made = HandMade()
    axes = ["sender_layer", "sender_head", "example"]
    coordinates = {name: list(range(length)) for name, length in zip(axes, shape, strict=True)}
    made.head["blocks"][0] |= {"axes": axes, "shape": shape, "coordinates": coordinates}
    chance = np.random.default_rng(0)
    made.arrays = {"0/patched": chance.random(shape, dtype=np.float32)}
    made.arrays |= {f"0/{run}": chance.random(shape[-1], dtype=np.float32) for run in ("orig", "new")}
    job: dict[str, Any] = client.post("/v1/jobs", json=spec()).json()
    worker.work_off(made)
    return job


@pytest.mark.parametrize("media", formats.FORMATS)
def test_what_a_process_of_its_own_makes_is_what_the_service_would_make(
    client: httpx.Client, worker: WorkerHand, store: JobStore, media: str
) -> None:
    """In every format, zipped or not, with the right length."""
    job = _finished(client, worker, [3, 5, 20_000])
    record, stored = store.run(jobs.get(job["id"])), store.run(jobs.result(job["id"]))
    assert stored is not None
    expected = formats.encode(stored, record, media)
    for coding in ("identity", "gzip"):
        headers = {"Accept": media, "Accept-Encoding": coding}
        with client.stream("GET", job["links"]["result"], headers=headers) as answer:
            body = b"".join(answer.iter_raw())
        assert answer.status_code == 200 and int(answer.headers["content-length"]) == len(body)
        is_zipped = coding == "gzip" and media != formats.NPZ
        assert answer.headers.get("content-encoding") == ("gzip" if is_zipped else None)
        _assert_equal(gzip.decompress(body) if is_zipped else body, expected, media)
        again = {**headers, "If-None-Match": answer.headers["etag"]}
        assert client.get(job["links"]["result"], headers=again).status_code == 304


def _assert_equal(body: bytes, expected: bytes, media: str) -> None:
    if media != formats.NPZ:  # a zip carries the time of its making
        assert body == expected
        return
    with np.load(io.BytesIO(body)) as found, np.load(io.BytesIO(expected)) as wanted:
        assert found.files == wanted.files
        assert all(np.array_equal(found[name], wanted[name]) for name in wanted.files)


def test_a_result_of_fifty_megabytes_costs_the_service_no_memory(
    service: LiveService, client: httpx.Client, worker: WorkerHand
) -> None:
    """Whatever its size, and however slowly it is read."""
    job = _finished(client, worker, [20, 250, 1000])
    client.get("/v1/jobs")
    before = psutil.Process(service.pid).memory_info().rss
    Path(f"/proc/{service.pid}/clear_refs").write_text("5")  # forget the highest use so far
    received = 0
    with client.stream("GET", job["links"]["result"], headers={"Accept-Encoding": "identity"}) as answer:
        for chunk in answer.iter_raw():
            received += len(chunk)
    assert received > 48 * MIB
    peak = _highest_use(service.pid)
    assert peak - before < ALLOWED_MIB * MIB


def _highest_use(pid: int) -> int:
    """Bytes in memory, at most, since the last reset."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))


@pytest.mark.parametrize("shape", [(0,), (7,), (5, 3), (2, 3, 4), (1, 50)])
def test_json_in_pieces_is_the_json_of_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the pieces are cut."""
    monkeypatch.setattr(formats, "PIECE", 4)
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    document = {"empty": {}, "blocks": [{"patched": array, "axes": []}], "text": 'a "b"', "none": None}
    text = b"".join(formats._pieces(document))
    assert text == orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
