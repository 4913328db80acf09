"""A broker and a service of a benchmark's own, with workers that come and go."""

import contextlib
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from job_store.records import NewJob
from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import LiveService, live_service
from tests.live_worker import LiveWorker, ended, live_workers
from tests.stored_jobs import submit

MIB = 2**20


class Stack:
    """A broker and a service; workers come and go."""

    def __init__(self, folder: Path, valkey: EmbeddedValkey, service: LiveService) -> None:
        self.folder = folder
        self.valkey = valkey
        self.service = service
        self.store = JobStore.connect(valkey.url)

    def workers(self, *names: str, **settings: str) -> "contextlib.AbstractContextManager[list[LiveWorker]]":
        """Workers of the demo model, ready in the block."""
        return live_workers(self.valkey.url, self.folder, *names, **settings)

    def seconds_of(self, job: NewJob) -> float:
        """From submitting a job, as the service does it, to its end."""
        began = time.perf_counter()
        submit(self.store, job)
        record = ended(self.store, job.id, 600)
        assert record.status == "succeeded", record.error_detail
        return time.perf_counter() - began


@contextlib.contextmanager
def stack(**environment: str) -> Iterator[Stack]:
    """Fresh processes for one part."""
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_valkey(Path(name) / "valkey") as valkey,
        live_service(valkey, Path(name) / "service.log", reaper_interval_s="2", **environment) as service,
    ):
        yield Stack(Path(name), valkey, service)


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(1000 * value for value in seconds)
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1}
    return {name: round(ordered[min(int(part * len(ordered)), len(ordered) - 1)], 2) for name, part in at.items()}


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cpu = names[0].partition(":")[2].strip() if names else platform.machine()
    return {"cpu": cpu, "cores": psutil.cpu_count(), "python": platform.python_version()}


def resident_mib(pid: int) -> int:
    """Resident memory of a process."""
    return round(psutil.Process(pid).memory_info().rss / MIB)
