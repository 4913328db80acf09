"""A real worker over a real broker: what it claims, what it stores, how it stops."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load

from job_store import jobs
from job_store.broker import queue_of
from job_store.store import JobStore
from job_store.workers import list_workers, rates
from tests.embedded_valkey import embedded_valkey
from tests.live_worker import LiveWorker, arrays_of, demo_job, ended, live_workers, until
from tests.nudges import nudge
from tests.stored_jobs import submit

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker for this module."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture(scope="module")
def worker(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveWorker]:
    """One worker with the demo model in memory."""
    with live_workers(redis_url, tmp_path_factory.mktemp("worker"), "one") as (worker,):
        yield worker


@pytest.fixture
def store(redis_url: str, worker: LiveWorker) -> Iterator[JobStore]:
    """The store that the worker works for."""
    store = JobStore.connect(redis_url)
    yield store
    store.close()


def test_a_job_of_several_shards_becomes_one_result(store: JobStore, redis_url: str) -> None:
    """In example order, with everything that provenance promises."""
    submit(store, job := demo_job(shards=5, seed=1))
    nudge(redis_url, "demo")
    record = ended(store, job.id)
    assert (record.status, record.error_detail, record.done, record.total) == ("succeeded", None, 5, 5)
    result = store.run(jobs.result(job.id))
    assert result is not None and load(result.arrays)["0/patched"].shape == (10,)
    head = json.loads(result.head)
    assert head["checks"]["identity_max_abs"] == 0.0 and head["provenance"]["device"] == "cpu"
    assert head["provenance"]["revision"] == job.facts.revision and set(head["provenance"]["versions"]) == {
        "pathpatch", "torch", "transformer-lens", "python",
    }  # fmt: skip
    assert store.run(rates("demo", least_s=0.0))["cpu"] > 0


def test_phases_run_one_after_the_other(store: JobStore, redis_url: str) -> None:
    """A mean over the dataset needs every shard before any patched run; bits do not depend on who ran what."""
    patch = {
        "senders": [{"hook": "z", "layer": 1, "head": 0}],
        "receivers": [{"hook": "resid_post", "layer": 3}],
        "source": "mean",
    }
    twins = [demo_job(shards=3, seed=2, patch=patch), demo_job(shards=3, seed=2, patch=patch)]
    submit(store, *twins)
    nudge(redis_url, "demo")
    records = [ended(store, job.id) for job in twins]
    assert [(record.status, record.total) for record in records] == [("succeeded", 6)] * 2
    assert arrays_of(store, twins[0].id) == arrays_of(store, twins[1].id)


def test_a_model_whose_files_have_changed_fails_the_job_clearly(store: JobStore, redis_url: str) -> None:
    """Numbers of another model under the accepted revision would be wrong for ever, through the cache."""
    from dataclasses import replace

    job = demo_job()
    submit(store, replace(job, facts=replace(job.facts, revision="another")))
    nudge(redis_url, "demo")
    record = ended(store, job.id)
    assert (record.status, record.error_code) == ("failed", "model_changed")


def test_a_model_without_files_fails_the_job_and_nothing_else(store: JobStore, redis_url: str) -> None:
    """The message says what was looked for; the worker goes on."""
    submit(store, job := demo_job(model={"name": "gpt2-xl"}))
    nudge(redis_url, "gpt2-xl")
    record = ended(store, job.id)
    assert (record.status, record.error_code) == ("failed", "model_not_found")
    assert record.error_detail is not None and "gpt2-xl" in record.error_detail
    submit(store, after := demo_job())
    nudge(redis_url, "demo")
    assert ended(store, after.id).status == "succeeded"


def test_a_nudge_without_work_is_dropped(store: JobStore, redis_url: str, worker: LiveWorker) -> None:
    """Messages may be late or doubled; nothing remains of them."""
    faults = worker.log.read_text().count("Traceback")
    nudge(redis_url, "demo", 50)
    submit(store, job := demo_job(seed=3))
    nudge(redis_url, "demo")
    assert ended(store, job.id).attempt == 1
    until(lambda: store.client.llen(queue_of("demo")) == 0)
    assert worker.log.read_text().count("Traceback") == faults


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickled_message_is_dropped_unread(
    store: JobStore, redis_url: str, worker: LiveWorker, tmp_path: Path
) -> None:
    """Whoever reached the broker could otherwise run code on every worker."""
    nudge(redis_url, "demo", arguments=[Trap(tmp_path / "sprung")], serializer="pickle")
    until(lambda: worker.has_said("content of type pickle"))
    submit(store, job := demo_job(seed=4))
    nudge(redis_url, "demo")
    assert ended(store, job.id).status == "succeeded"
    assert not (tmp_path / "sprung").exists()


def test_the_log_is_json_and_names_the_job_that_a_line_is_about(
    store: JobStore, redis_url: str, worker: LiveWorker
) -> None:
    """And no prompt is in it."""
    submit(store, job := demo_job(shards=2, seed=5))
    nudge(redis_url, "demo")
    ended(store, job.id)
    until(lambda: worker.has_said(f"{job.id}/0/assemble: stored"))
    lines = [json.loads(line) for line in worker.log.read_text().splitlines()]
    about = [line for line in lines if line.get("job_id") == job.id]
    assert [line["message"].partition(" after")[0] for line in about] == [
        f"{job.id}/0/0: stored",
        f"{job.id}/0/1: stored, the last one",
        f"{job.id}/0/assemble: stored",
    ]
    assert job.shards[0][12:40] not in worker.log.read_text()


def test_the_worker_is_listed_with_what_it_holds(store: JobStore) -> None:
    """What /v1/workers shows."""
    (info,) = store.run(list_workers())
    assert info.id.startswith("one@") and info.device == "cpu" and info.models == ["demo"] and "demo" in info.serves
    assert info.memory_bytes is not None and info.memory_bytes > 1e7


def test_a_worker_that_cannot_start_ends_with_one_readable_line(redis_url: str, tmp_path: Path) -> None:
    """A supervisor restarts it, and the operator reads why."""
    worker = LiveWorker(redis_url, tmp_path, "broken", DEVICE="cuda:77")
    worker.start()
    try:
        assert worker.process is not None and worker.process.wait(60) != 0
        assert worker.has_said("the worker cannot start")
    finally:
        worker.stop()


def test_sigterm_takes_the_worker_off_the_list(store: JobStore, redis_url: str, tmp_path: Path) -> None:
    """It leaves at once rather than when its heartbeat runs out."""
    with live_workers(redis_url, tmp_path, "two") as (worker,):
        assert worker.terminate() == 0
        assert not any(info.id.startswith("two@") for info in store.run(list_workers()))
