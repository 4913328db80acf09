"""Two services of one store, as behind a load balancer: whichever answers, it is the same API."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from job_store.shards import claim
from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, live_service, spec
from tests.live_worker import until

pytestmark = pytest.mark.integration


@pytest.fixture
def other(valkey: EmbeddedValkey, service: LiveService, tmp_path: Path) -> Iterator[LiveService]:
    """A second service beside the first."""
    with live_service(valkey, tmp_path / "other.log") as second:
        yield second


def test_a_job_is_waited_for_followed_and_fetched_at_the_other_service(
    service: LiveService, other: LiveService, worker: WorkerHand
) -> None:
    """Nothing of a job is kept in a process."""
    path = service.client.post("/v1/jobs", json=spec()).json()["links"]["self"]
    finishing = threading.Timer(0.3, worker.work_off)
    finishing.start()
    waited = other.client.get(path, headers={"Prefer": "wait=20"}).json()
    finishing.join()
    assert waited == service.client.get(path).json() and waited["status"] == "succeeded"
    events = other.client.get(f"{path}/events", headers={"Accept": "text/event-stream"}).text
    assert '"succeeded"' in events
    assert other.client.get(f"{path}/result").content == service.client.get(f"{path}/result").content
    assert other.client.post("/v1/jobs", json=spec()).json()["cached"] is True


def test_one_idempotency_key_makes_one_job_however_many_services_see_it(
    service: LiveService, other: LiveService
) -> None:
    """Clients that try again may be sent elsewhere; while the first is being answered the second may hear 409."""

    def post(number: int) -> tuple[int, str | None]:
        at = (service, other)[number % 2]
        answer = at.client.post("/v1/jobs", json=spec(), headers={"Idempotency-Key": "once"})
        return answer.status_code, answer.json().get("id")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(post, range(16)))
    assert {status for status, _ in answers} <= {202, 409}
    assert len({job_id for status, job_id in answers if status == 202}) == 1
    assert len(other.client.get("/v1/jobs").json()["data"]) == 1


def test_the_other_service_looks_after_lost_work_when_one_is_killed(
    valkey: EmbeddedValkey, store: JobStore, tmp_path: Path
) -> None:
    """One of them leads; its lead lapses with it."""
    with live_service(valkey, tmp_path / "a.log") as first, live_service(valkey, tmp_path / "b.log") as second:
        first.client.post("/v1/jobs", json=spec())
        until(lambda: store.client.exists("pp:reaper"))
        os.kill(first.pid, signal.SIGKILL)
        lost = store.run(claim("demo", "dead", 0.1))
        assert lost is not None
        heir = until(lambda: store.run(claim("demo", "heir", 30.0)))
        assert (heir.job_id, heir.attempt) == (lost.job_id, 2)
        assert second.client.get(f"/v1/jobs/{lost.job_id}").json()["status"] == "running"
