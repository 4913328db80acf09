"""`Idempotency-Key`: a retry makes nothing new, whatever happened to the first answer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from api_schemas.errors import IdempotencyKeyInFlight
from job_store.records import Limits
from job_store.store import JobStore
from job_store.submission import reserve
from service.accounts.keys import Caller
from service.jobs.idempotency import named, reserved
from service.parts import Parts
from service.settings import Settings
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, spec

pytestmark = pytest.mark.integration

KEY = {"Idempotency-Key": "night-1"}
CALLER = Caller("local", "local", ("admin",), Limits())


def _jobs(client: httpx.Client) -> int:
    return len(client.get("/v1/jobs?limit=100").json()["data"])


def test_the_same_request_again_answers_with_the_same_job(client: httpx.Client) -> None:
    """The client whose connection broke simply tries again."""
    first = client.post("/v1/jobs", json=spec(), headers=KEY)
    again = client.post("/v1/jobs", json=spec(), headers=KEY)
    assert again.json()["id"] == first.json()["id"]
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert _jobs(client) == 1


def test_the_key_with_another_body_is_refused(client: httpx.Client) -> None:
    """It is a mistake of the client, and silence would lose an experiment."""
    client.post("/v1/jobs", json=spec(0), headers=KEY)
    answer = client.post("/v1/jobs", json=spec(1), headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_while_the_first_request_is_being_answered_another_is_409(client: httpx.Client, store: JobStore) -> None:
    """Two at once must not make two jobs."""
    body = client.build_request("POST", "/v1/jobs", json=spec()).content
    store.run(reserve("local", named("night-1", "/v1/jobs", body, 60)))
    answer = client.post("/v1/jobs", json=spec(), headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_flight")
    assert answer.json()["retryable"] and int(answer.headers["retry-after"]) >= 1
    assert _jobs(client) == 0


def test_a_request_that_takes_long_keeps_its_key(
    valkey: EmbeddedValkey, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand large specs take longer to check than a dead process may block a key."""
    monkeypatch.setattr("service.jobs.idempotency.RESERVED_S", 0.5)
    mark = "pp:idempotency:local|night-1"

    async def take_long() -> None:
        parts = Parts.build(Settings(redis_url=valkey.url))
        name = named("night-1", "/v1/batches", b"{}", 60)
        async with reserved(parts, CALLER, name):
            await asyncio.sleep(0.8)
            with pytest.raises(IdempotencyKeyInFlight):
                async with reserved(parts, CALLER, name):
                    pass
        await parts.store.close()

    asyncio.run(take_long())
    assert 0 < store.client.pttl(mark) <= 500, "it lapses by itself, should this process die"


def test_a_refused_body_may_be_corrected_under_the_same_key(client: httpx.Client) -> None:
    """Nothing was made, so the name is still free."""
    assert client.post("/v1/jobs", json={}, headers=KEY).status_code == 422
    assert client.post("/v1/jobs", json=spec(), headers=KEY).status_code == 202


def test_a_batch_is_replayed_as_a_whole(client: httpx.Client) -> None:
    """The same batch, not the same jobs in another one."""
    body = {"jobs": [spec(0), spec(1)]}
    first = client.post("/v1/batches", json=body, headers=KEY)
    again = client.post("/v1/batches", json=body, headers=KEY)
    assert again.json()["id"] == first.json()["id"] and _jobs(client) == 2
    assert client.post("/v1/jobs", json=spec(), headers=KEY).status_code == 422


def test_a_storm_of_equal_requests_makes_one_job(service: LiveService, client: httpx.Client) -> None:
    """Retries in parallel are the worst case."""

    def submit(_: int) -> int:
        with httpx.Client(base_url=service.url, timeout=30) as own:
            return own.post("/v1/jobs", json=spec(), headers=KEY).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = set(pool.map(submit, range(48)))
    assert statuses <= {202, 409} and 202 in statuses
    assert _jobs(client) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "tab\tbed"])
def test_a_senseless_key_is_refused(client: httpx.Client, key: str) -> None:
    """1 to 255 visible ASCII characters."""
    answer = client.post("/v1/jobs", json=spec(), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


def test_the_same_request_after_its_job_was_erased_makes_no_new_one(client: httpx.Client) -> None:
    """A retry that comes late must not start the experiment again."""
    job = client.post("/v1/jobs", json=spec(), headers=KEY).json()
    assert client.delete(job["links"]["self"]).status_code == 204
    answer = client.post("/v1/jobs", json=spec(), headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")
    described = client.get("/openapi.json").json()["paths"]["/v1/jobs"]["post"]["responses"]
    assert "404" in described


def test_a_key_is_remembered_for_as_long_as_the_operator_says(client: httpx.Client, store: JobStore) -> None:
    """A day, unless it is set otherwise."""
    client.post("/v1/jobs", json=spec(), headers=KEY)
    assert 86_000 < store.client.ttl("pp:idempotency:local|night-1") <= 86_400
