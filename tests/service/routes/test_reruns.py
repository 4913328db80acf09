"""`POST /v1/jobs/{id}/rerun`: the same experiment with a change."""

from typing import Any

import httpx
import pytest

from api_schemas.spec import JobSpec
from job_store.store import JobStore
from service.jobs.reruns import as_asked
from service.specs.implied import normalised
from tests.live_service import spec
from tests.specs_of_demo import catalog

pytestmark = pytest.mark.integration

MERGE_PATCH = {"content-type": "application/merge-patch+json"}


def _submitted(client: httpx.Client, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=spec(**changes))
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def _rerun(client: httpx.Client, job: dict[str, Any], patch: Any, **options: Any) -> httpx.Response:
    return client.post(f"/v1/jobs/{job['id']}/rerun", json=patch, **options)


def test_the_same_experiment_with_another_seed(client: httpx.Client) -> None:
    """All else of the new job's spec is the old one's, tags included."""
    job = _submitted(client, seed=1)
    answer = _rerun(client, job, {"dataset": {"seed": 4}})
    assert answer.status_code == 202
    again = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{again['id']}" and again["id"] != job["id"]
    assert again["spec"] == job["spec"] | {"dataset": job["spec"]["dataset"] | {"seed": 4}}
    assert client.get(f"/v1/jobs/{job['id']}").json()["spec"] == job["spec"]


@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json; charset=utf-8"])
def test_the_patch_may_be_called_json_or_a_merge_patch(client: httpx.Client, content_type: str) -> None:
    """RFC 7396 names the second; most clients send the first."""
    answer = _rerun(client, _submitted(client), {"name": "again"}, headers={"content-type": content_type})
    assert answer.json()["spec"]["name"] == "again"


def test_without_a_body_the_spec_runs_as_it_was(client: httpx.Client) -> None:
    """Such as after a failure that was the machine's."""
    job = _submitted(client)
    answer = client.post(f"/v1/jobs/{job['id']}/rerun")
    assert answer.status_code == 202
    assert answer.json()["spec"] == job["spec"]


def test_null_removes_a_field_and_lists_are_replaced(client: httpx.Client) -> None:
    """As the RFC says."""
    job = _submitted(client, name="first")
    senders = [{"hook": "z", "layer": 0, "head": 3}]
    again = _rerun(client, job, {"name": None, "tags": {"kind": None, "a": "b"}, "patch": {"senders": senders}}).json()
    assert (again["spec"]["name"], again["tags"]) == (None, {"a": "b"})
    assert [node["head"] for node in again["spec"]["patch"]["senders"]] == [3]


def test_what_other_fields_imply_follows_the_changed_fields(client: httpx.Client) -> None:
    """A single patch keeps the examples and a sweep does not; what nobody asked for must not stay behind."""
    job = _submitted(client)
    assert job["spec"]["output"]["per_example"] is True and job["spec"]["patch"]["receiver_update"] == "add"
    sweep = {"sweep": {"hook": "z"}}
    again = _rerun(client, job, {"patch": {"senders": sweep, "direct_includes_mlps": True}}).json()["spec"]
    assert again["output"]["per_example"] is False
    assert again["patch"]["receiver_update"] == "overwrite"
    fresh = spec()
    fresh["patch"] |= {"senders": sweep, "direct_includes_mlps": True}
    assert again == client.post("/v1/jobs", json=fresh).json()["spec"]
    newest = client.get("/v1/jobs?limit=1").json()["data"][0]
    mlps = _rerun(client, newest, {"patch": {"senders": {"sweep": {"hook": "mlp_out"}}}}).json()["spec"]
    assert mlps["patch"]["senders"]["sweep"]["heads"] is None


@pytest.mark.parametrize(
    "asked",
    [
        {"output": {"per_example": False}},
        {"output": {"reduce": "mean"}},
        {"metrics": [{"kind": "kl"}, {"kind": "loss"}], "metric": None},
        {"model": {"name": "demo", "fold_ln": False}},
    ],
)
def test_what_was_asked_for_means_the_same_spec(asked: dict[str, Any]) -> None:
    """The short form of a spec, normalised again, is the spec."""
    demo = catalog().get("demo")
    full = normalised(JobSpec.model_validate(spec(**asked)), demo)
    assert normalised(JobSpec.model_validate(as_asked(full, demo)), demo) == full
    assert normalised(JobSpec.model_validate(as_asked(full, None)), demo) == full, "its model may be gone"


def test_a_change_that_does_not_fit_names_its_field(client: httpx.Client) -> None:
    """As if the whole spec had been sent."""
    job = _submitted(client)
    answer = _rerun(client, job, {"dataset": {"sed": 4}, "model": {"name": "nonsense"}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_spec")
    assert "/dataset/sed" in {error["pointer"] for error in answer.json()["errors"]}
    for patch in (b"[1]", b"null", b'"x"'):
        replaced = client.post(f"/v1/jobs/{job['id']}/rerun", content=patch, headers=MERGE_PATCH)
        assert (replaced.status_code, replaced.json()["code"]) == (422, "invalid_spec")


def test_a_job_that_is_not_there_cannot_run_again(client: httpx.Client) -> None:
    """Or was another key's."""
    answer = _rerun(client, {"id": "job_" + "0" * 26}, {})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")


def test_a_body_of_another_kind_is_refused(client: httpx.Client) -> None:
    """The answer names both kinds that are read."""
    job = _submitted(client)
    answer = client.post(f"/v1/jobs/{job['id']}/rerun", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert "application/merge-patch+json or application/json" in answer.json()["detail"]


def test_a_retry_makes_no_second_job(client: httpx.Client) -> None:
    """With an `Idempotency-Key`, as a submit; another change under the same key is refused."""
    job = _submitted(client)
    key = {"Idempotency-Key": "again-1"}
    first, second = (_rerun(client, job, {"dataset": {"seed": 9}}, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"] and second.headers["idempotency-replayed"] == "true"
    assert _rerun(client, job, {"dataset": {"seed": 8}}, headers=key).json()["code"] == "idempotency_key_reused"
    assert len(client.get("/v1/jobs?limit=100").json()["data"]) == 2


def test_a_large_spec_is_changed_by_a_small_patch(client: httpx.Client, store: JobStore) -> None:
    """Bodies this large are worked on one at a time; so is the spec that is read from the store."""
    prompts = [f"Mary and John number {number} went to the shops" for number in range(4000)]
    dataset = {"kind": "prompts", "orig": prompts, "new": prompts}
    big = _submitted(client, dataset=dataset, metric={"kind": "kl", "position": 0})
    again = _rerun(client, big, {"name": "smaller"})
    assert again.status_code == 202, again.text
    assert again.json()["spec"]["dataset"]["orig"] == prompts
