"""The processes of the bare application: its own broker, uvicorn and Celery as they come, one worker process.

Uvicorn then logs a line per request, as our service does, and Celery nothing but warnings, where our workers log a line
per shard.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.embedded_valkey import embedded_valkey, free_port

ROOT = Path(__file__).resolve().parent.parent
UVICORN = ("uvicorn", "benchmarks.bare_application:api", "--port")
CELERY = ("celery", "-A", "benchmarks.bare_application", "worker", "--concurrency", "1")
START_S = 60.0


@contextmanager
def bare_application(folder: Path, *, has_worker: bool) -> Iterator[int]:
    """The port on which it answers."""
    port = free_port()
    with embedded_valkey(folder / "bare") as valkey, (folder / "bare.log").open("ab") as log:
        environment = {**os.environ, "BARE_URL": valkey.url, "PYTHONPATH": str(ROOT)}
        commands = [(*UVICORN, str(port)), *([CELERY] if has_worker else [])]
        running = [
            subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, env=environment, stdout=log, stderr=log)  # noqa: S603
            for words in commands
        ]
        try:
            _wait_until_up(port, has_worker)
            yield port
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(30)


def _wait_until_up(port: int, has_worker: bool) -> None:
    """Until it takes a job, and with a worker until that is done."""
    deadline = time.monotonic() + START_S
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        while True:
            assert time.monotonic() < deadline, "the bare application did not start"
            time.sleep(0.1)
            try:
                job = client.post("/v1/jobs", json={"dataset": {"examples": 0}}).json()
                break
            except httpx.TransportError:
                continue
        while has_worker and client.get(f"/v1/jobs/{job['id']}").json()["state"] != "SUCCESS":
            assert time.monotonic() < deadline, "the bare application's worker did not start"
            time.sleep(0.1)
