"""Broker, service and two workers as separate processes, to be killed in tests."""

import os
import signal
from pathlib import Path

import httpx

from job_store import jobs
from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService
from tests.live_worker import LiveWorker, until

SHARD_DELAY_S = "0.5"


class Deployment:
    """``repair`` starts whatever is missing; workers ``a`` and ``b`` take half a second for each shard."""

    def __init__(self, valkey: EmbeddedValkey, folder: Path) -> None:
        self.valkey = valkey
        self.folder = folder
        self.store = JobStore.connect(valkey.url)
        self.service: LiveService | None = None
        self.workers = {name: LiveWorker(valkey.url, folder, name, SHARD_DELAY_S=SHARD_DELAY_S) for name in "ab"}

    @property
    def client(self) -> httpx.Client:
        """Talks to the service."""
        assert self.service is not None
        return self.service.client

    def repair(self) -> None:
        """Start what is missing, and wait until all is ready."""
        if self.service is None:
            self.service = LiveService(self.valkey.url)
            self.service.start(self.folder / "service.log")
        for worker in self.workers.values():
            if worker.process is None or worker.process.poll() is not None:
                worker.start()
        for worker in self.workers.values():
            worker.wait_until_ready()

    def holder(self, job_id: str, slot: str = "0/0") -> LiveWorker:
        """The worker that runs a shard of the job, as soon as one does."""
        until(lambda: self.store.client.sismember(f"pp:job:{job_id}:running", slot))
        name = self.store.client.hget(f"pp:job:{job_id}:shards", f"worker:{slot}")
        return self.workers[name.decode().partition("@")[0]]

    def kill_service(self) -> None:
        """``kill -9`` the service; ``repair`` starts another."""
        assert self.service is not None
        os.kill(self.service.pid, signal.SIGKILL)
        self.service.stop()
        self.service = None

    def starts_of(self, job_id: str, slot: str = "0/0") -> int:
        """How often workers started a shard, by their logs."""
        name = f"{job_id}/{slot}: "
        return sum(worker.log.read_text().count(name) for worker in self.workers.values())

    def status(self, job_id: str) -> str:
        """The job's state."""
        return self.store.run(jobs.get(job_id)).status

    def stop(self) -> None:
        """End all of it."""
        for worker in self.workers.values():
            worker.stop()
        if self.service is not None:
            self.service.stop()
        self.store.close()
