"""The real worker in processes of its own, and jobs of several shards for it on the demo model."""

import atexit
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import DEMO_FOLDER, parse_registry
from api_schemas.spec import JobSpec
from job_store import jobs
from job_store.ids import new_job_id
from job_store.records import JobFacts, JobRecord, NewJob
from job_store.store import JobStore
from job_store.workers import list_workers
from tests.live_service import python_path
from tests.no_models import NO_MODELS
from worker.models.checkpoints import find_checkpoint

ROOT = Path(__file__).resolve().parent.parent
START_S = 180.0
QUICK = {"LEASE_S": "2", "HEARTBEAT_S": "0.4", "PRELOAD": "demo", "THREADS": "1", "DEVICE": "cpu"}
"""Settings under which a lost worker is noticed within seconds."""
TOKENS_PER_PROMPT = 10
VOCABULARY = 300


@cache
def data_folder() -> Path:
    """Processed weights of all live workers of this process: to process them imports TransformerLens, for seconds."""
    folder = tempfile.TemporaryDirectory(prefix="live-workers-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def until(is_so: Callable[[], Any], timeout_s: float = 30.0, every_s: float = 0.02) -> Any:
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(every_s)
    return found


class LiveWorker:
    """One ``python -m worker``; settings are named without their prefix. ``root`` may be another checkout."""

    root = ROOT

    def __init__(self, redis_url: str, folder: Path, name: str, **settings: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._redis_url = redis_url
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("PATHPATCH_")}
        inherited["PATHPATCH_MODEL_DIR"] = NO_MODELS
        own = {"REDIS_URL": redis_url, "PATHPATCH_WORKER_NAME": name, "PATHPATCH_DATA_DIR": str(data_folder())}
        chosen = {f"PATHPATCH_{key}": value for key, value in {**QUICK, **settings}.items()}
        self._environment = {**inherited, **own, **chosen}
        self._devices = len(settings.get("DEVICE", "auto").split(","))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it is ready later."""
        with self.log.open("ab") as file:
            command = [sys.executable, "-P", "-m", "worker"]
            environment = {**self._environment, "PYTHONPATH": python_path(self.root)}
            self.process = subprocess.Popen(command, cwd=self.root, env=environment, stdout=file, stderr=file)

    def wait_until_ready(self) -> None:
        """Wait until it is listed, with a model in memory on each device."""
        store = JobStore.connect(self._redis_url)
        until(lambda: self._is_ready(store), START_S, 0.1)
        store.close()

    def _is_ready(self, store: JobStore) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()
        names = (f"{self.name}@", f"{self.name}.")
        infos = [info for info in store.run(list_workers()) if info.id.startswith(names)]
        return len(infos) == self._devices and all(info.models for info in infos)

    @property
    def pid(self) -> int:
        """Its main process."""
        assert self.process is not None
        return self.process.pid

    @property
    def child_pid(self) -> int:
        """Its child process, which computes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[-1])

    def has_said(self, words: str) -> bool:
        """Whether its log has a text."""
        return words in self.log.read_text()

    def kill(self) -> None:
        """``kill -9`` the main process; the kernel takes the child along."""
        self._signal(signal.SIGKILL)

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, and its exit code."""
        self._signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(timeout_s)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """End it, however it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@contextmanager
def live_workers(redis_url: str, folder: Path, *names: str, **settings: str) -> Iterator[list[LiveWorker]]:
    """Workers that start side by side, ready in the block."""
    workers = [LiveWorker(redis_url, folder, name, **settings) for name in names]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_until_ready()
        yield workers
    finally:
        for worker in workers:
            worker.stop()


@cache
def demo_revision() -> str:
    """Revision of the demo model's files."""
    assert DEMO_FOLDER.exists()
    return find_checkpoint("demo", parse_registry("")).revision


def demo_job(shards: int = 1, seed: int = 0, **changes: Any) -> NewJob:
    """Two examples per shard of random tokens; equal seeds give equal results."""
    chance = random.Random(seed)
    examples = 2 * shards
    orig = [[chance.randrange(VOCABULARY) for _ in range(TOKENS_PER_PROMPT)] for _ in range(examples)]
    new = [[chance.randrange(VOCABULARY) for _ in range(TOKENS_PER_PROMPT)] for _ in range(examples)]
    content: dict[str, Any] = {
        "model": {"name": "demo"},
        "dataset": {"kind": "tokens", "orig": orig, "new": new},
        "patch": {
            "senders": [{"hook": "z", "layer": 1, "head": 0}],
            "receivers": [{"hook": "resid_post", "layer": 3}],
        },
        "metric": {"kind": "loss"},
        "use_cache": False,
    }
    job_id = new_job_id()
    facts = JobFacts(TOKENS_PER_PROMPT, examples, 1e6, "d" * 64, job_id, demo_revision())
    dataset = ResolvedDataset(orig=orig, new=new, roles={}, answers={})
    pieces = tuple(dataset.slice(2 * shard, 2 * shard + 2).model_dump_json() for shard in range(shards))
    return NewJob(job_id, JobSpec.model_validate({**content, **changes}), facts, pieces)


def ended(store: JobStore, job_id: str, timeout_s: float = 60.0) -> JobRecord:
    """The job, once it has ended."""

    def done() -> JobRecord | None:
        record = store.run(jobs.get(job_id))
        return record if record.is_done else None

    record: JobRecord = until(done, timeout_s)
    return record


def arrays_of(store: JobStore, job_id: str) -> bytes:
    """The numbers of a job's result, bit for bit."""
    result = store.run(jobs.result(job_id))
    assert result is not None
    return result.arrays
