"""An upgrade without a stop: service and workers of two checkouts on one store."""

import shutil
import subprocess
import tarfile
import time
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest

from job_store import jobs
from job_store.store import JobStore
from tests.embedded_valkey import embedded_valkey
from tests.live_service import LiveService, spec
from tests.live_worker import ROOT, LiveWorker, arrays_of, ended, until

BEFORE = "455c0a090aaa13a8dd5039198d9d8e4862c8bccf"
"""The last commit that stored no schema with its jobs."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """Its files."""
    command = ["git", "-C", str(ROOT), "archive", BEFORE]
    found = subprocess.run(command, capture_output=True) if shutil.which("git") else None
    if found is None or found.returncode:
        pytest.skip("the older commit is not here")
    with tarfile.open(fileobj=BytesIO(found.stdout)) as files:
        files.extractall(tmp_path / "older", filter="data")
    return tmp_path / "older"


def test_an_older_worker_finishes_its_jobs_and_leaves_the_newer_ones(older: Path, tmp_path: Path) -> None:
    """The service first: what it accepts waits for workers of its version, what was accepted before goes on."""
    with ExitStack() as resources:
        valkey = resources.enter_context(embedded_valkey(tmp_path / "valkey"))
        store = JobStore.connect(valkey.url)
        old_service, service = LiveService(valkey.url), LiveService(valkey.url)
        old_worker = LiveWorker(valkey.url, tmp_path, "old", SHARD_DELAY_S="0.5")
        worker = LiveWorker(valkey.url, tmp_path, "new")
        old_service.root = old_worker.root = older
        for process in (old_service, service, old_worker, worker):
            resources.callback(process.stop)
        old_worker.start()
        old_service.start(tmp_path / "service.log")
        old_worker.wait_until_ready()
        accepted = [old_service.client.post("/v1/jobs", json=spec(use_cache=False)).json()["id"] for _ in range(4)]
        old_service.stop()
        service.start(tmp_path / "service.log")
        newer = service.client.post("/v1/jobs", json=spec(use_cache=False)).json()["id"]
        assert [ended(store, job_id).status for job_id in accepted] == ["succeeded"] * 4
        until(lambda: not store.client.llen("patch.demo"))
        time.sleep(1)
        waiting = service.client.get(f"/v1/jobs/{newer}").json()
        assert waiting["status"] == "queued" and f"{newer}/" not in old_worker.log.read_text()
        worker.start()
        assert ended(store, newer).status == "succeeded" and f"{newer}/0/0: " in worker.log.read_text()
        assert arrays_of(store, newer) == arrays_of(store, accepted[0])
        assert {store.run(jobs.get(job_id)).attempt for job_id in (newer, *accepted)} == {1}
