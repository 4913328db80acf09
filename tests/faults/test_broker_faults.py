"""The broker killed, emptied, full, unreachable, or with another idea of the time."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from api_schemas.errors import UnknownJob
from api_schemas.models import DEMO_FOLDER
from job_store import jobs
from job_store.gauges import jobs_by_state
from job_store.store import JobStore
from tests.blackhole import Blackhole
from tests.deployment import Deployment
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import live_service, spec
from tests.live_worker import arrays_of, demo_job, ended, live_workers, until
from tests.stored_jobs import submit


@dataclass(frozen=True)
class Behind:
    """The broker by another address."""

    url: str


def test_a_job_survives_the_kill_of_the_broker(deployment: Deployment, store: JobStore) -> None:
    """With its append-only file; meanwhile the service answers 503 with Retry-After, and recovers by itself."""
    submit(store, undisturbed := demo_job(shards=6, seed=30))
    ended(store, undisturbed.id)
    submit(store, job := demo_job(shards=6, seed=30))
    until(lambda: store.run(jobs.get(job.id)).done >= 1)
    time.sleep(1.1)  # what was accepted is on the disk within a second
    deployment.valkey.kill()
    refused = deployment.client.post("/v1/jobs", json=spec(seed=30))
    assert refused.status_code == 503 and "Retry-After" in refused.headers
    assert refused.json()["code"] == "store_unavailable"
    deployment.valkey.restart()
    assert ended(store, job.id).status == "succeeded"
    assert arrays_of(store, job.id) == arrays_of(store, undisturbed.id)
    assert until(lambda: deployment.client.get(f"/v1/jobs/{job.id}").status_code == 200)


def test_nothing_hangs_after_the_data_is_gone(deployment: Deployment, store: JobStore) -> None:
    """A client gets a clear answer, even one that was waiting or reading events, and the next job runs."""
    submit(store, lost := demo_job(shards=6, seed=31))
    deployment.holder(lost.id)
    with ThreadPoolExecutor() as waiting:
        waited = waiting.submit(deployment.client.get, f"/v1/jobs/{lost.id}", headers={"Prefer": "wait=60"})
        events = {"Accept": "text/event-stream"}
        streamed = waiting.submit(deployment.client.get, f"/v1/jobs/{lost.id}/events", headers=events)
        time.sleep(0.3)
        deployment.valkey.erase()
        deployment.valkey.start()
        assert waited.result(15).status_code in (404, 503)
        assert "succeeded" not in streamed.result(15).text
    with pytest.raises(UnknownJob):
        store.run(jobs.get(lost.id))
    gone = deployment.client.get(f"/v1/jobs/{lost.id}")
    assert gone.status_code == 404 and lost.id in gone.json()["detail"]
    submit(store, job := demo_job(seed=32))
    assert ended(store, job.id).status == "succeeded"


def test_a_full_store_refuses_new_jobs_and_lets_running_ones_wait(deployment: Deployment, store: JobStore) -> None:
    """503 and no half-made job; what was running goes on when there is room again."""
    submit(store, running := demo_job(shards=2, seed=33))
    deployment.holder(running.id)
    counted = store.run(jobs_by_state())
    store.client.config_set("maxmemory", 1)
    try:
        refused = deployment.client.post("/v1/jobs", json=spec(seed=33, use_cache=False))
        assert refused.status_code == 503 and refused.json()["code"] == "store_full"
        assert "Retry-After" in refused.headers
        time.sleep(2)
        assert sum(store.run(jobs_by_state()).values()) == sum(counted.values())
        assert deployment.status(running.id) == "running"
    finally:
        store.client.config_set("maxmemory", 0)
    assert ended(store, running.id).status == "succeeded"


def test_a_half_open_connection_is_noticed_and_recovered_from(
    deployment: Deployment, store: JobStore, valkey: EmbeddedValkey, fault_folder: Path
) -> None:
    """A network that swallows everything: the service answers 503 in time, another worker takes the shard over."""
    cable = Blackhole(valkey.port)
    url = valkey.url.replace(f":{valkey.port}/", f":{cable.port}/")
    settings = {"MODELS": f"far={DEMO_FOLDER}", "SERVE": "far", "PRELOAD": "far", "SHARD_DELAY_S": "1"}
    with (
        live_workers(url, fault_folder, "far", **settings) as (worker,),
        live_service(Behind(url), fault_folder / "far-service.log") as service,
    ):
        submit(store, job := demo_job(shards=3, model={"name": "far"}))
        until(lambda: store.run(jobs.get(job.id)).status == "running")
        cable.swallow()
        started = time.monotonic()
        answer = service.client.get(f"/v1/jobs/{job.id}")
        assert answer.status_code == 503 and time.monotonic() - started < 15
        until(lambda: store.client.llen(f"pp:job:{job.id}:retry") == 1, 20)
        cable.pass_on()
        assert ended(store, job.id).status == "succeeded"
        assert until(lambda: service.client.get(f"/v1/jobs/{job.id}").status_code == 200)
        assert worker.process is not None and worker.process.poll() is None
    cable.close()


def test_a_worker_whose_connections_died_silently_gets_new_ones(
    store: JobStore, valkey: EmbeddedValkey, fault_folder: Path
) -> None:
    """A firewall forgets idle connections and answers nothing: the next job must not wait for a restart."""
    cable = Blackhole(valkey.port)
    url = valkey.url.replace(f":{valkey.port}/", f":{cable.port}/")
    settings = {"MODELS": f"idle={DEMO_FOLDER}", "SERVE": "idle", "PRELOAD": "idle"}
    with live_workers(url, fault_folder, "idle", **settings) as (worker,):
        cable.forget()
        submit(store, job := demo_job(model={"name": "idle"}))
        assert ended(store, job.id, 30).status == "succeeded"
        assert worker.process is not None and worker.process.poll() is None
    cable.close()


def test_a_clock_that_steps_an_hour_changes_no_result(deployment: Deployment, store: JobStore) -> None:
    """All times are the store's. Forward, leases lapse at once and shards run again; the numbers stay."""
    submit(store, undisturbed := demo_job(shards=4, seed=34))
    ended(store, undisturbed.id)
    submit(store, job := demo_job(shards=4, seed=34))
    deployment.holder(job.id)
    for lease, until_ms in store.client.zrange("pp:leases", 0, -1, withscores=True):
        store.client.zadd("pp:leases", {lease: until_ms - 3600_000})
    record = ended(store, job.id)
    assert record.status == "succeeded" and arrays_of(store, job.id) == arrays_of(store, undisturbed.id)


def test_missing_and_truncated_model_files_fail_their_jobs_clearly(
    store: JobStore, valkey: EmbeddedValkey, fault_folder: Path, tmp_path: Path
) -> None:
    """At the start and later: the worker lives, says what it looked for, and serves its other models."""
    truncated = tmp_path / "truncated"
    shutil.copytree(DEMO_FOLDER, truncated)
    weights = truncated / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    models = f"gone={tmp_path / 'gone'},truncated={truncated},whole={DEMO_FOLDER}"
    settings = {"MODELS": models, "SERVE": "gone,truncated,whole", "PRELOAD": "gone,truncated,whole"}
    with live_workers(valkey.url, fault_folder, "models", **settings):
        created = [demo_job(model={"name": name}) for name in ("gone", "truncated", "whole")]
        # of the intact file's revision the worker has weights, and would rightly run them
        created[1] = replace(created[1], facts=replace(created[1].facts, revision="of the truncated file"))
        submit(store, *created)
        records = [ended(store, job.id) for job in created]
    assert [record.status for record in records] == ["failed", "failed", "succeeded"]
    assert records[0].error_code == "model_not_found" and "looked for the folder" in str(records[0].error_detail)
    assert not any(str(tmp_path) in str(record.error_detail) for record in records)
    assert records[1].error_code in ("unusable_model", "model_changed")
