"""The service killed at the worst moments, and clients that go away."""

import socket
import time

import pytest

from job_store import jobs
from job_store.gauges import jobs_by_state
from job_store.shards import Claim, complete, heartbeat
from job_store.store import JobStore
from tests.deployment import Deployment
from tests.live_service import spec
from tests.live_worker import demo_job, ended, until
from tests.stored_jobs import hand_in, must_take, submit, take


def test_a_job_whose_message_was_never_sent_runs(deployment: Deployment, store: JobStore) -> None:
    """The service was killed between record and publish: the record alone is enough."""
    deployment.kill_service()
    submit(store, job := demo_job(seed=20))
    deployment.repair()
    assert ended(store, job.id).status == "succeeded"


def test_a_message_lost_with_its_worker_is_sent_again(deployment: Deployment, store: JobStore) -> None:
    """Nobody restores messages; the reaper sees claimable shards and an empty queue."""
    submit(store, job := demo_job(shards=6, seed=21))
    until(lambda: store.run(jobs.get(job.id)).done >= 1)
    store.client.delete("patch.demo", "unacked", "unacked_index")
    record = ended(store, job.id)
    assert (record.status, record.attempt) == ("succeeded", 1)


def test_a_service_killed_before_its_reply_makes_one_job(deployment: Deployment, store: JobStore) -> None:
    """The client never read an answer; with the same idempotency key it gets the job that was made."""
    before = sum(store.run(jobs_by_state()).values())
    request = deployment.client.build_request("POST", "/v1/jobs", json=spec(seed=22, use_cache=False))
    content, headers = request.content, {"Idempotency-Key": "night-run-1", "Content-Type": "application/json"}
    assert deployment.service is not None
    with socket.create_connection(("127.0.0.1", deployment.service.port)) as connection:
        connection.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Idempotency-Key: night-run-1\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
        )
        until(lambda: sum(store.run(jobs_by_state()).values()) > before, every_s=0.001)
        deployment.kill_service()
    deployment.repair()
    answers = [deployment.client.post("/v1/jobs", content=content, headers=headers) for _ in range(2)]
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum(store.run(jobs_by_state()).values()) == before + 1
    assert ended(store, answers[0].json()["id"]).is_done


MOMENTS = ("queued", "claimed", "between shards", "assembling", "done")


def bring_to(store: JobStore, moment: str) -> Claim | None:
    """Work on a job of two shards, by hand, up to the moment; what is held then."""
    if moment == "queued":
        return None
    first = must_take(store, model="by-hand")
    if moment == "claimed":
        return first
    store.run(hand_in(first))
    if moment == "between shards":
        return None
    assembly = store.run(hand_in(must_take(store, model="by-hand"))).assembly
    assert assembly is not None
    if moment == "assembling":
        return assembly
    store.run(complete(assembly, b"{}", b""))
    return None


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_job_cancelled_at_any_moment_ends(deployment: Deployment, store: JobStore, moment: str) -> None:
    """It is cancelled when nothing runs any more, unless it had succeeded; what was held is refused."""
    submit(store, job := demo_job(shards=2, model={"name": "by-hand"}))
    held = bring_to(store, moment)
    answer = deployment.client.post(f"/v1/jobs/{job.id}/cancel")
    assert answer.status_code == (409 if moment == "done" else 202 if held else 200)
    if held is not None:
        assert answer.json()["status"] == "cancelling"
        assert store.run(heartbeat(held, 10)) == "cancelled"
        late = complete(held, b"{}", b"") if held.is_assembly else hand_in(held)
        assert store.run(late).outcome == "cancelled"
    assert deployment.status(job.id) == ("succeeded" if moment == "done" else "cancelled")
    assert take(store, model="by-hand") is None
    assert store.client.exists(f"pp:job:{job.id}:running", f"pp:job:{job.id}:inputs") == 0


@pytest.mark.parametrize("delay_s", [0.02, 0.6, 1.1])
def test_a_job_cancelled_while_workers_run_it_ends(deployment: Deployment, store: JobStore, delay_s: float) -> None:
    """Whatever two real workers do just then: cancelled, or already succeeded; nothing runs on."""
    submit(store, job := demo_job(shards=4, seed=23))
    time.sleep(delay_s)
    answer = deployment.client.post(f"/v1/jobs/{job.id}/cancel")
    assert answer.status_code in (200, 202, 409)
    record = ended(store, job.id, 10)
    assert record.status == ("succeeded" if answer.status_code == 409 else "cancelled")
    assert store.client.exists(f"pp:job:{job.id}:running", f"pp:job:{job.id}:inputs") == 0


def test_a_running_shard_is_interrupted_by_cancelling(deployment: Deployment, store: JobStore) -> None:
    """The worker is free again within a heartbeat or so, not when the shard would have ended."""
    submit(store, job := demo_job(shards=1, seed=24))
    worker = deployment.holder(job.id)
    deployment.client.post(f"/v1/jobs/{job.id}/cancel")
    assert ended(store, job.id, 5).status == "cancelled"
    until(lambda: worker.has_said(f"{job.id}/0/0 is cancelled") or worker.has_said(f"{job.id}/0/0: cancelled"))


def test_clients_that_leave_mid_events_leave_nothing_behind(deployment: Deployment, store: JobStore) -> None:
    """Twenty streams are cut; the job ends, and the service still streams to those who stay."""
    submit(store, job := demo_job(shards=6, seed=25))
    headers = {"Accept": "text/event-stream"}
    for _ in range(20):
        with deployment.client.stream("GET", f"/v1/jobs/{job.id}/events", headers=headers) as stream:
            next(stream.iter_text())
    with deployment.client.stream("GET", f"/v1/jobs/{job.id}/events", headers=headers) as stream:
        text = "".join(stream.iter_text())
    assert text.count("event: progress") == 6 and '"succeeded"' in text
    assert store.client.pubsub_numsub("pp:changes") == [(b"pp:changes", 1)]
