"""A full disk under `pathpatch up`: jobs can be erased, new ones are refused, and both ends by themselves."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.errors import StoreFull
from job_store import jobs
from job_store.store import JobStore
from pathpatch.stack.broker import Broker
from pathpatch.stack.reserve import Reserve
from tests.live_worker import until
from tests.stored_jobs import new_job, submit

MIB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.fixture
def broker(disk: Path) -> Iterator[Broker]:
    """The stack's own, on that disk."""
    broker = Broker.prepare(disk / "broker")
    process = subprocess.Popen(broker.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(broker.answers)
    yield broker
    process.kill()
    process.wait()


def _fill(store: JobStore) -> None:
    for _ in range(2000):
        submit(store, *(new_job(tags={"a": "x" * 200}) for _ in range(20)))


def test_jobs_are_erased_on_a_full_disk_and_new_ones_refused_until_there_is_room(disk: Path, broker: Broker) -> None:
    """Whoever wants to make room must be able to."""
    said: list[str] = []
    reserve = Reserve(broker, lambda _, line: said.append(line), size=2 * MIB)
    store = JobStore.connect(broker.url)
    reserve.look()
    assert reserve.path.stat().st_size == 2 * MIB
    made = [new_job(tags={"a": "x" * 200}) for _ in range(5)]
    submit(store, *made)
    filler = disk / "filler"
    filler.write_bytes(b"x" * 9 * MIB)
    with pytest.raises(StoreFull):
        _fill(store)
    with pytest.raises(StoreFull):
        store.run(jobs.delete(made[0].id))
    until(lambda: (reserve.look(), not reserve.path.exists())[1], 5)
    assert until(lambda: (reserve.look(), store.client.exists("pp:disk_full"))[1], 10)
    for job in made:
        store.run(jobs.delete(job.id))
    with pytest.raises(StoreFull):
        submit(store, new_job())
    assert any("is full" in line for line in said)
    filler.unlink()
    reserve.look()
    assert reserve.path.exists() and "has room again" in said[-1]
    submit(store, new_job())
    store.close()


def test_the_watch_ends_with_the_stack(broker: Broker) -> None:
    """And does not hold it up."""
    reserve = Reserve(broker, lambda _, line: None, size=MIB)
    reserve.start()
    until(reserve.path.exists)
    started = time.monotonic()
    reserve.stop()
    assert time.monotonic() - started < 2
