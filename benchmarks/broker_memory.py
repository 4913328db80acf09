"""Bytes of the broker's memory that a finished job takes, with its result in the broker and in a folder of blobs."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from blob_store.place import BlobStore
from job_store.records import Limits, Retention
from job_store.shards import complete, finish
from job_store.store import JobStore
from job_store.submission import create
from tests.embedded_valkey import embedded_valkey
from tests.stored_jobs import must_take, new_job

JOBS = 100
RESULT_BYTES = (2_000, 20_000, 200_000, 2_000_000)
"""Arrays of a few cells; of a sweep over 144 heads as means; with each of a hundred examples; and of neurons."""


def bytes_per_job(result_bytes: int, *, in_blobs: bool) -> int:
    """Growth of the broker's used memory per finished job."""
    with TemporaryDirectory() as folder, embedded_valkey(Path(folder) / "broker") as valkey:
        store = JobStore.connect(valkey.url, BlobStore(f"file://{folder}/blobs") if in_blobs else None)
        _finish_jobs(store, 1, result_bytes)
        before = _used(store)
        _finish_jobs(store, JOBS, result_bytes)
        grown = _used(store) - before
        store.close()
    return grown // JOBS


def _used(store: JobStore) -> int:
    return int(store.client.info("memory")["used_memory"])


def _finish_jobs(store: JobStore, number: int, result_bytes: int) -> None:
    content = b"x" * result_bytes
    for _ in range(number):
        store.run(create("local", [new_job()], limits=Limits(), retention=Retention()))
        held = must_take(store)
        step = finish(held, content, device="cpu", phases=1, worker="w", lease_s=60, computed_s=1.0)
        assembly = store.run(step).assembly
        assert assembly is not None
        store.run(complete(assembly, b"{}" * 1000, content))


def main() -> None:
    """Print both figures by size of the result."""
    places = {"in the broker": False, "in blobs": True}
    found = {
        size: {name: bytes_per_job(size, in_blobs=in_blobs) for name, in_blobs in places.items()}
        for size in RESULT_BYTES
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
