"""The real service in a process of its own, and a hand at the worker's side of its store."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from safetensors.numpy import save

from job_store.shards import Claim, claim, complete, fail, finish
from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey, free_port
from tests.no_models import NO_MODELS

ROOT = Path(__file__).resolve().parent.parent
START_S = 120.0

Document = dict[str, Any]


def spec(seed: int = 0, **changes: Any) -> Document:
    """A small spec on the demo model, as a client writes it; another seed makes it another spec."""
    content: Document = {
        "model": {"name": "demo"},
        "dataset": {"kind": "ioi", "examples": 4, "seed": seed},
        "patch": {
            "senders": [{"hook": "z", "layer": 1, "head": 0}],
            "receivers": [{"hook": "q", "layer": 2, "head": 1}],
        },
        "metric": {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"},
        "tags": {"kind": "test"},
    }
    return {**content, **changes}


def metric(client: httpx.Client, name: str) -> float:
    """What a service exports under a name with its labels, as its line in ``/metrics`` begins."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


def python_path(root: Path) -> str:
    """A checkout first, then what a test has put there."""
    return os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))


class LiveService:
    """A running service; ``client`` talks to it over HTTP. ``root`` may be another checkout."""

    root = ROOT

    def __init__(self, redis_url: str, **environment: str) -> None:
        self.redis_url = redis_url
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PATHPATCH_")}
        inherited["PATHPATCH_MODEL_DIR"] = NO_MODELS
        own = {"REDIS_URL": redis_url, "PATHPATCH_PORT": str(self.port), "PATHPATCH_REAPER_INTERVAL_S": "0.5"}
        self._environment = (
            inherited | own | {f"PATHPATCH_{name.upper()}": value for name, value in environment.items()}
        )
        self._process: subprocess.Popen[str] | None = None
        self.client = httpx.Client(base_url=self.url, timeout=30.0)

    def start(self, log: Path) -> None:
        """Start the process and wait until it answers."""
        command = [sys.executable, "-m", "service"]
        with log.open("a") as file:
            environment = {**self._environment, "PYTHONPATH": python_path(self.root)}
            self._process = subprocess.Popen(command, cwd=self.root, env=environment, stderr=file, text=True)
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self.client.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def end(self, number: signal.Signals) -> None:
        """Send the process a signal that ends it; ``start`` starts it again where it was."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(15)

    def stop(self) -> None:
        """End the process."""
        self.client.close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


@contextmanager
def live_service(valkey: EmbeddedValkey, log: Path, **environment: str) -> Iterator[LiveService]:
    """A service on that store, with settings by their names without the prefix."""
    service = LiveService(valkey.url, **environment)
    try:
        service.start(log)
        yield service
    finally:
        service.stop()


class WorkerHand:
    """Does by hand, through the real store, what a worker does: claim, finish, complete, fail."""

    def __init__(self, store: JobStore, model: str = "demo") -> None:
        self._store = store
        self._model = model

    def take(self) -> Claim:
        """Claim the next shard, which must exist."""
        held = self._store.run(claim(self._model, "hand", 30.0))
        assert held is not None
        return held

    def finish(self, held: Claim, result: "HandMade | None" = None) -> None:
        """Finish a shard, and the job with its last one."""
        step = finish(held, b"output", device="cpu", phases=1, worker="hand", lease_s=30.0, computed_s=0.1)
        handed = self._store.run(step) if not held.is_assembly else None
        assembly = held if handed is None else handed.assembly
        if assembly is not None:
            made = result or HandMade()
            self._store.run(complete(assembly, json.dumps(made.head).encode(), save(made.arrays)))

    def fail(self, held: Claim, code: str = "checks_failed", detail: str = "identity is off by 0.1") -> None:
        """Fail the job."""
        self._store.run(fail(held, code, detail))

    def work_off(self, result: "HandMade | None" = None) -> None:
        """Do all the work there is."""
        while (held := self._store.run(claim(self._model, "hand", 30.0))) is not None:
            self.finish(held, result)


class HandMade:
    """A result of four examples, one number of it not finite."""

    def __init__(self) -> None:
        statistics = {"mean": 0.5, "sd": 0.1, "sem": 0.05, "median": 0.5, "min": 0.1, "max": 0.9, "n": 4}
        block = {
            "metric": {
                "kind": "attention_diff",
                "title": "attention end → IO minus end → S1, head 10.7",
                "unit": "probability",
                "normalize": "none",
            },
            "axes": ["example"],
            "shape": [4],
            "coordinates": {"example": [0, 1, 2, 3]},
            "n_examples": 4,
            "summary": {"patched": statistics, "orig": statistics, "new": statistics},
        }
        provenance = {"model": "demo", "revision": "r", "weights_sha256": "w", "dtype": "float32", "device": "cpu"}
        self.head: Document = {
            "blocks": [block],
            "unreachable_senders": [],
            "checks": {"identity_max_abs": 0.0, "nonfinite": 1},
            "provenance": provenance | {"versions": {}, "dataset_sha256": "d", "spec_sha256": "s"},
            "warnings": [],
        }
        self.arrays = {
            "0/patched": np.array([0.123456789, 0.25, np.nan, 1 / 3], dtype=np.float32),
            "0/orig": np.array([0.5, 0.5, 0.5, 0.5], dtype=np.float32),
            "0/new": np.array([0.0, 0.125, 0.25, 0.375], dtype=np.float32),
        }
