"""A worker's child whose device breaks or computes wrong numbers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from api_schemas.models import parse_registry
from api_schemas.spec import ModelSpec
from job_store import jobs
from job_store.store import JobStore
from tests.embedded_valkey import embedded_valkey
from tests.live_worker import ROOT, LiveWorker, demo_job
from tests.stored_jobs import submit
from worker.models.loading import load_model
from worker.process.device import is_broken

pytestmark = pytest.mark.integration

BREAKS_AT_ONCE = """
import os, torch
import worker.process.child
from worker.settings import WorkerSettings

def compute(bench, held):
    raise torch.AcceleratorError("CUDA error: device-side assert triggered")

worker.process.child.compute = compute
child = worker.process.child.Child(WorkerSettings.read(os.environ), 0)
child.work_off(child.claim("demo"))
print("still here")
"""


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for this module."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture
def store(redis_url: str) -> Iterator[JobStore]:
    """The store on it."""
    store = JobStore.connect(redis_url)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("error", "broken"),
    [
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("CUDA error: unspecified launch failure"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("boom"), False),
    ],
)
def test_only_an_error_of_the_device_itself_breaks_its_context(error: Exception, broken: bool) -> None:
    """After one of these every later call fails too, so the process must end; after the others it may go on."""
    assert is_broken(error) is broken


def test_a_child_with_a_broken_device_ends_and_its_shard_is_tried_again(store: JobStore, redis_url: str) -> None:
    """Celery replaces the child; the shard has lost one attempt."""
    submit(store, job := demo_job())
    environment = {**os.environ, "REDIS_URL": redis_url, "PATHPATCH_DEVICE": "cpu"}
    command = [sys.executable, "-c", BREAKS_AT_ONCE]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "still here" not in ended.stdout and "is broken: this process ends" in ended.stderr
    assert store.client.lrange(f"pp:job:{job.id}:retry", 0, -1) == [b"0"]
    assert store.client.hget(f"pp:job:{job.id}:shards", "attempt:0/0") == b"1"
    store.run(jobs.cancel(job.id))


def test_a_worker_whose_device_computes_wrong_numbers_does_not_start(redis_url: str, tmp_path: Path) -> None:
    """The stored logits are what the device should have computed: with others stored, the device is the wrong one."""
    load_model("demo", ModelSpec(name="demo"), parse_registry(""), "cpu", tmp_path / "weights")
    (stored,) = (tmp_path / "weights").iterdir()
    with safe_open(stored, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors["expected_logits"] *= 1.01
    save_file(tensors, stored, metadata)
    wrong = LiveWorker(redis_url, tmp_path, "wrong", DATA_DIR=str(tmp_path))
    wrong.start()
    try:
        assert wrong.process is not None and wrong.process.wait(60) != 0
        assert wrong.has_said("the worker cannot start: SelfCheckFailed") and wrong.has_said("'demo' on cpu")
    finally:
        wrong.stop()
