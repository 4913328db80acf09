"""The main process of a worker, which watches over its own consumer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from job_store.store import JobStore
from job_store.workers import beat
from tests.embedded_valkey import embedded_valkey
from tests.live_worker import ROOT

pytestmark = pytest.mark.integration

WATCH = """
import os, time
import worker.process.presence
from worker.settings import WorkerSettings

worker.process.presence.DEAF_S = 0.5
presence = worker.process.presence.Presence(WorkerSettings.read(os.environ))
presence.start()
for _ in range(int(os.environ["MESSAGES"])):
    presence.note_message()
    time.sleep(0.1)
time.sleep(1.2)
print("still here")
"""
IDLE = {"is_loading": False, "device": "cpu", "models": [], "serves": ["demo"], "memory_bytes": 1, "running": None}


@pytest.mark.parametrize(("description", "ends"), [(IDLE, True), ({**IDLE, "running": "job_x/0/0"}, False)])
def test_an_idle_worker_that_hears_nothing_of_waiting_messages_ends(
    tmp_path: Path, description: dict[str, object], ends: bool
) -> None:
    """Its consumer is lost, and only a new process has a new one; a worker that computes lets messages wait."""
    settings = {"PATHPATCH_WORKER_NAME": "deaf", "PATHPATCH_HEARTBEAT_S": "0.1", "MESSAGES": "4"}
    with embedded_valkey(tmp_path) as valkey:
        store = JobStore.connect(valkey.url)
        store.run(beat(f"deaf@{os.uname().nodename}", description, 60))
        store.client.rpush("patch.demo", "message")
        environment = {**os.environ, **settings, "REDIS_URL": valkey.url}
        watched = subprocess.run(
            [sys.executable, "-c", WATCH], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        store.close()
    assert (watched.returncode == 1) is ends and ("still here" in watched.stdout) is not ends, watched.stderr
