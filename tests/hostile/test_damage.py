"""A bit that flips in the store is never a number that somebody reads."""

import pytest

from job_store.store import JobStore
from service.results.formats import FORMATS
from tests.live_service import HandMade, LiveService, WorkerHand, spec
from tests.two_keys import Key, new_key


def _flip(store: JobStore, job_id: str, field: str) -> None:
    content = store.client.hget(f"pp:result:{job_id}", field)
    store.client.hset(f"pp:result:{job_id}", field, content[:-3] + bytes([content[-3] ^ 4]) + content[-2:])


@pytest.mark.parametrize("accept", [*FORMATS, "image/svg+xml"])
@pytest.mark.parametrize("field", ["arrays", "head"])
def test_a_damaged_result_is_gone_in_every_form_and_is_computed_again(
    guarded: LiveService, attacker: Key, worker: WorkerHand, store: JobStore, accept: str, field: str
) -> None:
    """410 says so; the same spec, sent again, is not answered from it."""
    with attacker.client() as client:
        job = client.post("/v1/jobs", json=spec()).json()
        worker.work_off(HandMade())
        _flip(store, job["id"], field)
        path = job["links"]["figure" if accept == "image/svg+xml" else "result"]
        answer = client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.json()["code"]) == (410, "result_expired")
        assert "damaged" in answer.json()["detail"] or accept == "image/svg+xml"
        assert client.get(path, headers={"Accept": accept}).status_code == 410
        again = client.post("/v1/jobs", json=spec())
        assert again.status_code == 202 and not again.json()["cached"]


def test_a_key_fills_its_own_share_of_the_store_only(
    shared_guarded: LiveService, store: JobStore, worker: WorkerHand
) -> None:
    """Jobs that are answered from an earlier result need no worker, and used to count nowhere."""
    key = new_key(shared_guarded, "greedy", limits={"store_bytes": 60_000})
    other = new_key(shared_guarded, "other")
    with key.client() as client, other.client() as beside:
        client.post("/v1/jobs", json=spec())
        worker.work_off()
        answers = [client.post("/v1/jobs", json=spec()) for _ in range(20)]
        refused = answers[-1]
        assert answers[0].json()["cached"] and refused.status_code == 429
        assert refused.json()["code"] == "quota_exceeded" and refused.json()["detail"].startswith("store_bytes: ")
        assert client.get("/v1/me").json()["use"]["store_bytes"] <= 60_000
        assert beside.post("/v1/jobs", json=spec()).status_code == 202
        assert client.delete(answers[0].json()["links"]["self"]).status_code == 204
        assert client.post("/v1/jobs", json=spec()).status_code == 202
