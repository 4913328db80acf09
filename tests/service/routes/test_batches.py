"""Batches over HTTP: all or none."""

import httpx
import pytest

from api_schemas.jobs import Batch
from tests.live_service import WorkerHand, spec

pytestmark = pytest.mark.integration

MISSING_HEAD = {"senders": [{"hook": "z", "layer": 1, "head": 99}], "receivers": [{"hook": "q", "layer": 2, "head": 1}]}


def test_a_batch_is_accepted_as_a_whole_and_counted(client: httpx.Client, worker: WorkerHand) -> None:
    """One request for a night's sweep, in the order given."""
    answer = client.post("/v1/batches", json={"jobs": [spec(seed) for seed in range(3)]})
    assert answer.status_code == 202
    batch = Batch.model_validate_json(answer.content)
    assert (batch.done, batch.counts) == (False, {"queued": 3})
    seeds = [client.get(f"/v1/jobs/{job_id}").json()["spec"]["dataset"]["seed"] for job_id in batch.jobs]
    assert seeds == [0, 1, 2]
    worker.work_off()
    after = client.get(answer.headers["location"]).json()
    assert (after["done"], after["counts"]) == (True, {"succeeded": 3})


def test_one_bad_spec_refuses_all_and_every_error_is_told(client: httpx.Client) -> None:
    """Half a batch would be worse than none."""
    jobs = [spec(), spec(model={"name": "nope"}), spec(metric={"kind": "loss", "typo": 1}), spec(patch=MISSING_HEAD)]
    answer = client.post("/v1/batches", json={"jobs": jobs, "prio/rity": 1})
    assert answer.status_code == 422
    told = [error["pointer"] for error in answer.json()["errors"]]
    assert told == ["/prio~1rity", "/jobs/1/model/name", "/jobs/2/metric/typo", "/jobs/3/patch/senders/0/head"]
    answer = client.post("/v1/batches", json={"jobs": jobs[:2]})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/jobs/1/model/name"]
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_batch_with_errors_without_end_is_not_read_to_its_end(client: httpx.Client) -> None:
    """Sixteen megabytes of mistakes took minutes and hundreds of megabytes."""
    wrong = spec(patch={"senders": [{"hook": f"x{number}", "layer": -1} for number in range(100)], "receivers": []})
    answer = client.post("/v1/batches", json={"jobs": [wrong] * 50})
    assert answer.status_code == 422
    told = [error["pointer"] for error in answer.json()["errors"]]
    assert len(told) == 1000 and told[-1].startswith("/jobs/9/")


def test_a_webhook_that_cannot_be_called_hides_no_other_error(client: httpx.Client) -> None:
    """Here webhooks are off."""
    wrong = spec(patch=MISSING_HEAD, webhook={"url": "https://example.org/hook"})
    for path, body in (("/v1/jobs", wrong), ("/v1/jobs:validate", wrong), ("/v1/batches", {"jobs": [wrong]})):
        told = [error["pointer"].removeprefix("/jobs/0") for error in client.post(path, json=body).json()["errors"]]
        assert told == ["/patch/senders/0/head", "/webhook"]


@pytest.mark.parametrize("body", [{}, [], {"jobs": []}, {"jobs": 3}, {"jobs": [{}], "job": 1}, {"jobs": [1] * 1001}])
def test_what_is_no_batch_is_refused(client: httpx.Client, body: object) -> None:
    """With a pointer to what is wrong."""
    answer = client.post("/v1/batches", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec")
    assert answer.json()["errors"][0]["pointer"].startswith("/job")


def test_cancelling_a_batch_stops_what_has_not_ended(client: httpx.Client, worker: WorkerHand) -> None:
    """What has succeeded keeps its result."""
    batch = client.post("/v1/batches", json={"jobs": [spec(0), spec(1)]}).json()
    worker.finish(worker.take())
    answer = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["counts"] == {"cancelled": 1, "succeeded": 1}


def test_an_unknown_batch_is_404(client: httpx.Client) -> None:
    """Whatever the id looks like."""
    for batch_id in ("batch_01JZ8Q5W3T9V6X2Y4A7B0C1D2E", "nonsense"):
        assert client.get(f"/v1/batches/{batch_id}").status_code == 404
        assert client.post(f"/v1/batches/{batch_id}/cancel").status_code == 404
