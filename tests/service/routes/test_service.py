"""Models, workers, health, metrics, version, pages and logs over HTTP."""

import json
import re
from pathlib import Path

import httpx
import pytest

from api_schemas.accounts import Me, Version
from api_schemas.jobs import ListOf, Readiness, WorkerInfo
from api_schemas.models import ModelInfo
from job_store.store import JobStore
from job_store.workers import beat
from service.telemetry.prometheus import TOTALS
from tests.live_service import WorkerHand, metric, spec

pytestmark = pytest.mark.integration

WORKER = {"device": "cpu", "models": ["demo"], "serves": ["demo"], "memory_bytes": 5, "running": "job_01/0/1"}


def test_models_are_listed_with_their_sizes_and_holders(client: httpx.Client, store: JobStore) -> None:
    """What can be patched, and what is warm."""
    store.run(beat("w1", WORKER, 30.0))
    models = ListOf[ModelInfo].model_validate_json(client.get("/v1/models").content).data
    demo = next(model for model in models if model.name == "demo")
    assert demo.available and demo.shape is not None and demo.workers == ["w1"]
    assert ModelInfo.model_validate_json(client.get("/v1/models/demo").content) == demo


def test_a_model_that_is_not_there_says_what_was_looked_for(client: httpx.Client) -> None:
    """Unavailable is not unknown."""
    known = client.get("/v1/models/gpt2-xl").json()
    assert not known["available"] and "openai-community/gpt2-xl" in known["reason"]
    unknown = client.get("/v1/models/gpt5")
    assert unknown.status_code == 404 and "gpt2-small" in unknown.json()["detail"]


def test_workers_are_listed_from_their_heartbeats(client: httpx.Client, store: JobStore) -> None:
    """And readiness names them."""
    assert client.get("/v1/workers").json()["data"] == []
    ready = Readiness.model_validate_json(client.get("/readyz").content)
    assert ready.ready and not ready.components["workers"].ok
    store.run(beat("w1", WORKER, 30.0))
    workers = ListOf[WorkerInfo].model_validate_json(client.get("/v1/workers").content).data
    assert [(worker.id, worker.running) for worker in workers] == [("w1", "job_01/0/1")]
    ready = Readiness.model_validate_json(client.get("/readyz").content)
    assert ready.components["workers"].detail == "w1 (cpu)"


def test_version_and_me_are_as_published(client: httpx.Client) -> None:
    """Clients compare versions before they complain."""
    assert Version.model_validate_json(client.get("/version").content).api == "v1"
    assert Me.model_validate_json(client.get("/v1/me").content).name == "local"


def test_metrics_show_requests_jobs_queues_and_workers(
    client: httpx.Client, store: JobStore, worker: WorkerHand
) -> None:
    """What an autoscaler and a dashboard need, in Prometheus' own format."""
    store.run(beat("w1", WORKER, 30.0))
    client.post("/v1/jobs", json=spec(0))
    worker.work_off()
    client.post("/v1/jobs", json=spec(0))
    client.post("/v1/jobs", json=spec(1))
    text = client.get("/metrics").text
    for line in (
        'pathpatch_jobs{status="queued"} 1.0',
        'pathpatch_jobs{status="succeeded"} 2.0',
        'pathpatch_queued_shards{model="demo"} 1.0',
        'pathpatch_worker_memory_bytes{device="cpu",worker="w1"} 5.0',
        "pathpatch_jobs_cached_total 1.0",
        "pathpatch_store_up 1.0",
    ):
        assert line in text, line
    for pattern in (
        r'pathpatch_http_requests_total\{method="POST",route="/v1/jobs",status="202"\} \d',
        r'pathpatch_oldest_wait_seconds\{model="demo"\} \d',
        r"pathpatch_shard_seconds_total \d",
    ):
        assert re.search(pattern, text), pattern


def test_requests_that_wait_are_counted_but_do_not_count_as_slow(client: httpx.Client, worker: WorkerHand) -> None:
    """An alert on slow answers would otherwise ring whenever somebody waits for a job."""
    path = client.post("/v1/jobs", json=spec()).json()["links"]["self"]
    counts = []
    for header in ({}, {"Prefer": "wait=0"}, {}):
        client.get(path, headers=header)
        client.get("/livez")  # a request is counted after its answer: by now the one before is
        labels = 'method="GET",route="/v1/jobs/{job_id}"'
        names = (f'requests_total{{{labels},status="200"}}', f"request_seconds_count{{{labels}}}")
        counts.append([metric(client, f"pathpatch_http_{name}") for name in names])
    (requests, timed), *later = counts
    assert later == [[requests + 1, timed], [requests + 2, timed + 1]]


def test_no_page_asks_another_host_for_anything(client: httpx.Client) -> None:
    """The documentation works on a machine without a network."""
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"(src|href)=\"(https?:)?//", page.text)
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert client.get(f"/{path}").status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_the_log_is_json_with_ids_and_never_a_prompt(
    client: httpx.Client, service_log: Path, worker: WorkerHand
) -> None:
    """One line per request, to be joined by request and job id."""
    private_prompt = "the prompt nobody else may read"
    prompts = {"kind": "prompts", "orig": [private_prompt], "new": [private_prompt], "roles": {"bad": ["nowhere"]}}
    refused = client.post("/v1/jobs", json=spec(dataset=prompts))
    assert refused.status_code == 422
    job = client.post("/v1/jobs", json=spec(), headers={"X-Request-Id": "find-me-1"}).json()
    batch = client.post("/v1/batches", json={"jobs": [spec(1)]}, headers={"X-Request-Id": "find-me-2"}).json()
    client.get("/v1/jobs")  # a request is logged after its answer: by now the one before is
    lines = [json.loads(line) for line in service_log.read_text().splitlines()]
    line = next(line for line in lines if line.get("request_id") == "find-me-1")
    assert (line["job_id"], line["status"], line["path"]) == (job["id"], 202, "/v1/jobs")
    assert line["key_id"] == "local" and line["duration_ms"] > 0
    assert next(line for line in lines if line.get("request_id") == "find-me-2")["batch_id"] == batch["id"]
    assert private_prompt not in service_log.read_text()


def test_the_traceback_of_a_fault_of_ours_has_no_prompt_either(
    client: httpx.Client, service_log: Path, worker: WorkerHand, store: JobStore
) -> None:
    """A record of another version, for instance, fails to be read with an error that by default quotes what it read."""
    job_id = client.post("/v1/jobs", json=spec()).json()["id"]
    worker.work_off()
    stored = json.loads(store.client.hget(f"pp:job:{job_id}", "spec"))
    private = "the other prompt nobody else may read"
    store.client.hset(
        f"pp:job:{job_id}", "spec", json.dumps(stored | {"unknown": private, "dataset": {"orig": [private]}})
    )
    fault = client.get(f"/v1/jobs/{job_id}/figure")  # which reads the whole spec
    assert fault.status_code == 500 and private not in fault.text
    client.get("/livez")
    lines = [json.loads(line) for line in service_log.read_text().splitlines()]
    line = next(line for line in lines if line.get("request_id") == fault.json()["request_id"])
    assert "ValidationError" in line["traceback"] and "unknown" in line["traceback"]
    assert private not in service_log.read_text()


def test_unknown_routes_are_problems(client: httpx.Client) -> None:
    """Also where no code of ours runs."""
    for path in ("/nope", "/v1", "/v1/jobs/", "/docs/nope.js", "/web/../settings.py"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_every_counter_of_the_store_is_exported_from_zero_on(client: httpx.Client) -> None:
    """A rate cannot be computed from a counter that appears with its first event; and none may be forgotten."""
    scripts = (Path(__file__).parents[3] / "job_store" / "lua").glob("*.lua")
    counted = {
        name for path in scripts for name in re.findall(r"count\('([a-z_]+)'(?: \.\. status)?", path.read_text())
    }
    counted = (counted - {"jobs_"}) | {f"jobs_{status}" for status in ("succeeded", "failed", "cancelled", "expired")}
    assert counted == set(TOTALS)
    text = client.get("/metrics").text
    assert all(f"pathpatch_{name}_total 0.0" in text for name in counted)


def test_a_model_tells_its_architecture(client: httpx.Client) -> None:
    """Which heads and hooks a spec may name; null for a model whose files were not found."""
    found = client.get("/v1/models/demo").json()["architecture"]
    assert (found["family"], found["n_heads"], found["n_kv_heads"], found["windows"]) == ("gpt2", 8, 8, [None] * 4)
    assert "resid_mid" in found["hooks"]["senders"] and "mlp_in" in found["hooks"]["receivers"]
    assert client.get("/v1/models/llama-3.1-8b").json()["architecture"] is None
    meant = client.get("/v1/models/gpt2").json()
    assert meant["code"] == "not_found" and "did you mean 'gpt2-small'?" in meant["detail"]
