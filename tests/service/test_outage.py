"""The broker goes away and comes back: the service says so, stays alive, and recovers by itself."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from job_store.store import JobStore
from service.routes.health import PATIENCE_S
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import LiveService, WorkerHand, live_service, spec

pytestmark = pytest.mark.integration


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A broker that may be killed."""
    with embedded_valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
def own_service(own_valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[LiveService]:
    """A service on it."""
    with live_service(own_valkey, tmp_path / "service.log") as service:
        yield service


def _eventually(claim: Any, limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_without_the_broker_every_answer_is_a_503_and_afterwards_all_is_well(
    own_service: LiveService, own_valkey: EmbeddedValkey
) -> None:
    """Clients are told when to try again; nobody has to restart the service."""
    client = own_service.client
    job = client.post("/v1/jobs", json=spec()).json()
    own_valkey.kill()
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", job["links"]["self"]), ("GET", "/v1/me")):
        answer = client.request(method, path, json=spec(1) if method == "POST" else None)
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.json()["retryable"] and int(answer.headers["retry-after"]) >= 1
    assert client.get("/livez").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503 and not ready.json()["components"]["store"]["ok"]
    assert "pathpatch_store_up 0.0" in client.get("/metrics").text
    own_valkey.restart()
    _eventually(lambda: client.get("/readyz").status_code == 200)
    assert client.get(job["links"]["self"]).json()["status"] == "queued"
    store = JobStore.connect(own_valkey.url)
    WorkerHand(store).work_off()
    store.close()
    assert client.get(job["links"]["self"], headers={"Prefer": "wait=10"}).json()["status"] == "succeeded"


def test_a_broker_that_hangs_is_told_in_time_and_by_component(
    own_service: LiveService, own_valkey: EmbeddedValkey
) -> None:
    """The components are asked at the same time: probes are impatient."""
    own_valkey.signal(signal.SIGSTOP)
    try:
        ready = own_service.client.get("/readyz")
    finally:
        own_valkey.signal(signal.SIGCONT)
    assert ready.status_code == 503 and ready.elapsed.total_seconds() < 2 * PATIENCE_S
    found = ready.json()["components"]
    assert "no answer within" in found["store"]["detail"] and "store does not answer" in found["workers"]["detail"]
    assert found["models"]["ok"]


def test_a_service_ends_though_the_broker_hangs(own_service: LiveService, own_valkey: EmbeddedValkey) -> None:
    """Within the ten seconds that Docker gives it."""
    job = own_service.client.post("/v1/jobs", json=spec()).json()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(own_service.client.get, job["links"]["self"], headers={"Prefer": "wait=50"})
        time.sleep(0.5)
        own_valkey.signal(signal.SIGSTOP)
        began = time.monotonic()
        own_service.end(signal.SIGTERM)
        assert time.monotonic() - began < 10
        assert waiting.result().status_code == 503


def test_a_client_that_waits_through_a_restart_of_the_broker_is_answered(
    own_service: LiveService, own_valkey: EmbeddedValkey
) -> None:
    """The feed of changes reconnects, and wakes whoever waits."""
    client = own_service.client
    client.post("/v1/jobs", json=spec())
    with httpx.Client(base_url=own_service.url, timeout=30) as waiting:
        job = waiting.post("/v1/jobs", json=spec()).json()
        own_valkey.kill()
        own_valkey.restart()
        store = JobStore.connect(own_valkey.url)
        WorkerHand(store).work_off()
        store.close()
        _eventually(lambda: waiting.get(job["links"]["self"], headers={"Prefer": "wait=5"}).json().get("done"))


def test_an_outage_is_told_once(own_service: LiveService, own_valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Not twice a second for as long as it lasts."""
    own_valkey.kill()
    time.sleep(2.0)
    own_valkey.restart()
    _eventually(lambda: own_service.client.get("/readyz").json()["components"]["store"]["ok"])
    assert 1 <= (tmp_path / "service.log").read_text().count("feed of changes was interrupted") <= 2


def test_a_full_store_refuses_new_jobs_with_503_and_makes_no_half_job(
    own_service: LiveService, own_valkey: EmbeddedValkey
) -> None:
    """Full is no fault of the client, and passes."""
    client = own_service.client
    store = JobStore.connect(own_valkey.url)
    store.client.config_set("maxmemory", "1mb")
    answer = client.post("/v1/jobs", json=spec())
    assert (answer.status_code, answer.json()["code"]) == (503, "store_full")
    store.client.config_set("maxmemory", "0")
    assert client.get("/v1/jobs").json()["data"] == []
    assert client.post("/v1/jobs", json=spec()).status_code == 202
    store.close()
