"""Workers that die, freeze, come back, hang or are told to stop."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_schemas.models import DEMO_FOLDER
from job_store import jobs
from job_store.store import JobStore
from tests.deployment import Deployment
from tests.embedded_valkey import EmbeddedValkey
from tests.live_worker import LiveWorker, arrays_of, demo_job, ended, live_workers, until
from tests.nudges import nudge
from tests.stored_jobs import submit


@pytest.fixture
def undisturbed(deployment: Deployment) -> bytes:
    """The numbers of a job of four shards that nothing happened to."""
    submit(deployment.store, job := demo_job(shards=4, seed=7))
    assert ended(deployment.store, job.id).status == "succeeded"
    return arrays_of(deployment.store, job.id)


def test_a_child_killed_mid_shard_costs_one_attempt(
    deployment: Deployment, store: JobStore, undisturbed: bytes
) -> None:
    """Another child runs the shard, and the numbers are the same, bit for bit."""
    submit(store, job := demo_job(shards=4, seed=7))
    os.kill(deployment.holder(job.id).child_pid, signal.SIGKILL)
    record = ended(store, job.id)
    assert (record.status, record.attempt, record.done) == ("succeeded", 2, 4)
    assert arrays_of(store, job.id) == undisturbed


def test_a_whole_worker_killed_is_made_up_for_within_thirty_seconds(
    deployment: Deployment, store: JobStore, undisturbed: bytes
) -> None:
    """The other worker takes over when the lease has lapsed; no message has to come back for that."""
    submit(store, job := demo_job(shards=4, seed=7))
    deployment.holder(job.id).kill()
    killed = time.monotonic()
    record = ended(store, job.id)
    assert record.status == "succeeded" and time.monotonic() - killed < 30
    assert arrays_of(store, job.id) == undisturbed


@pytest.mark.slow
def test_a_shard_that_kills_its_workers_starts_three_times_and_harms_no_other_job(
    deployment: Deployment, store: JobStore
) -> None:
    """Exactly three, then the job fails and names the shard."""
    submit(store, poison := demo_job(seed=8))
    fences = set()
    others = [demo_job(shards=2, seed=seed) for seed in (9, 10)]

    def kill_if_running() -> bool:
        if deployment.status(poison.id) in ("failed", "succeeded"):
            return True
        fence = store.client.hget(f"pp:job:{poison.id}:shards", "fence:0/0")
        if store.client.scard(f"pp:job:{poison.id}:running") and fence not in fences:
            fences.add(fence)
            os.kill(deployment.holder(poison.id).child_pid, signal.SIGKILL)
            submit(store, *others[:1])
        return False

    until(kill_if_running, 120)
    submit(store, *others[1:])
    record = ended(store, poison.id)
    assert (record.status, record.error_code, len(fences)) == ("failed", "worker_lost", 3)
    assert record.error_detail is not None and "Shard 0" in record.error_detail
    assert {ended(store, other.id).status for other in others} == {"succeeded"}


def test_a_worker_frozen_beyond_its_lease_cannot_overwrite(
    deployment: Deployment, store: JobStore, undisturbed: bytes
) -> None:
    """SIGSTOP, another worker finishes the job, SIGCONT: the late hand-in is refused."""
    submit(store, job := demo_job(shards=4, seed=7))
    frozen = deployment.holder(job.id)
    child = frozen.child_pid
    os.kill(child, signal.SIGSTOP)
    try:
        assert ended(store, job.id).status == "succeeded"
    finally:
        os.kill(child, signal.SIGCONT)
    until(lambda: frozen.has_said(f"{job.id}/0/0 is lost") or frozen.has_said(f"{job.id}/0/0: not wanted"))
    assert arrays_of(store, job.id) == undisturbed and store.run(jobs.get(job.id)).done == 4


def test_fifty_messages_to_two_workers_make_one_result(deployment: Deployment, store: JobStore) -> None:
    """A message is only a nudge: each shard starts once."""
    submit(store, job := demo_job(shards=2, seed=11))
    nudge(deployment.valkey.url, "demo", 50)
    record = ended(store, job.id)
    assert (record.status, record.attempt) == ("succeeded", 1)
    assert deployment.starts_of(job.id, "0/0") == deployment.starts_of(job.id, "0/1") == 1


@pytest.fixture
def slow_worker(valkey: EmbeddedValkey, fault_folder: Path, request: pytest.FixtureRequest) -> Iterator[LiveWorker]:
    """A worker of its own model, so that the others leave its jobs alone."""
    settings = {"MODELS": f"slow={DEMO_FOLDER}", "SERVE": "slow", "PRELOAD": "slow", **request.param}
    with live_workers(valkey.url, fault_folder, "slow", **settings) as (worker,):
        yield worker


@pytest.mark.parametrize("slow_worker", [{"SHARD_DELAY_S": "2.5", "GRACE_S": "20"}], indirect=True)
def test_sigterm_lets_a_shard_finish_within_the_grace_time(slow_worker: LiveWorker, store: JobStore) -> None:
    """Restarting a worker loses no work. The shard outlives its first lease, which the heartbeat keeps: one attempt."""
    submit(store, job := demo_job(shards=2, model={"name": "slow"}))
    until(lambda: store.run(jobs.get(job.id)).status == "running")
    assert slow_worker.terminate() == 0
    record = store.run(jobs.get(job.id))
    assert (record.done, record.attempt) == (1, 1)
    assert store.client.scard(f"pp:job:{job.id}:running") == 0
    store.run(jobs.cancel(job.id))


@pytest.mark.parametrize("slow_worker", [{"SHARD_DELAY_S": "60", "GRACE_S": "0.5"}], indirect=True)
def test_sigterm_hands_a_long_shard_back_uncounted(slow_worker: LiveWorker, store: JobStore) -> None:
    """It is queued again at once, and its attempts are as before."""
    submit(store, job := demo_job(model={"name": "slow"}))
    until(lambda: store.run(jobs.get(job.id)).status == "running")
    assert slow_worker.terminate() == 0
    assert store.client.lrange(f"pp:job:{job.id}:retry", 0, -1) == [b"0"]
    assert store.client.hget(f"pp:job:{job.id}:shards", "attempt:0/0") == b"0"
    store.run(jobs.cancel(job.id))


@pytest.mark.parametrize(
    "slow_worker", [{"SHARD_DELAY_S": "60", "SHARD_LIMIT_S": "1", "KILL_AFTER_S": "1"}], indirect=True
)
def test_a_hung_shard_is_killed_and_a_slow_one_fails_with_its_limit(slow_worker: LiveWorker, store: JobStore) -> None:
    """A process that does not even answer its soft limit is replaced; the shard's next attempt meets the soft one."""
    submit(store, job := demo_job(model={"name": "slow"}))
    until(lambda: store.run(jobs.get(job.id)).status == "running")
    hung = slow_worker.child_pid
    os.kill(hung, signal.SIGSTOP)
    record = ended(store, job.id)
    assert slow_worker.child_pid != hung
    assert (record.status, record.error_code, record.attempt) == ("failed", "shard_timeout", 2)
    assert record.error_detail is not None and "1 s" in record.error_detail
