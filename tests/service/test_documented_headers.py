"""No answer carries a header that the published schema does not describe."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, live_service, spec

pytestmark = pytest.mark.integration

OF_HTTP_ITSELF = {
    "cache-control", "connection", "content-encoding", "content-length", "content-type", "date", "transfer-encoding",
    "referrer-policy", "x-accel-buffering", "x-content-type-options", "x-frame-options",
}  # fmt: skip


@pytest.fixture(scope="module")
def limited_service(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service that allows four submits a minute, and one event stream at a time."""
    limits = {"submits_per_minute": "4", "max_event_streams": "1"}
    with live_service(valkey, tmp_path_factory.mktemp("headers") / "log", **limits) as service:
        yield service


def _undocumented(schema: dict[str, Any], template: str, answer: httpx.Response) -> set[str]:
    operation = schema["paths"][template][answer.request.method.lower()]
    described = operation["responses"][str(answer.status_code)]["headers"]
    return set(answer.headers) - OF_HTTP_ITSELF - {name.lower() for name in described}


def test_every_header_of_an_answer_is_documented(limited_service: LiveService, store: JobStore) -> None:
    """Clients find each with its meaning in the documentation of the very status."""
    client = limited_service.client
    schema = client.get("/openapi.json").json()
    seen: set[tuple[str, int]] = set()

    def ask(method: str, template: str, path: str = "", **request: Any) -> httpx.Response:
        answer = client.request(method, path or template, **request)
        assert _undocumented(schema, template, answer) == set(), (method, template, answer.status_code)
        seen.add((template, answer.status_code))
        return answer

    key = {"Idempotency-Key": "one"}
    links = ask("POST", "/v1/jobs", json=spec(), headers=key).json()["links"]
    ask("POST", "/v1/jobs", json=spec(), headers=key)
    job = ask("GET", "/v1/jobs/{job_id}", links["self"])
    ask("GET", "/v1/jobs/{job_id}", links["self"], headers={"If-None-Match": job.headers["etag"], "Prefer": "wait=0"})
    ask("GET", "/v1/jobs/{job_id}/result", links["result"])
    WorkerHand(store).work_off()
    for accept in ("application/json", "text/csv", "application/x-npz"):
        result = ask("GET", "/v1/jobs/{job_id}/result", links["result"], headers={"Accept": accept})
    again = {"Accept": accept, "If-None-Match": result.headers["etag"]}
    ask("GET", "/v1/jobs/{job_id}/result", links["result"], headers=again)
    ask("GET", "/v1/jobs/{job_id}/result", links["result"], headers={"Accept": "image/png"})
    ask("GET", "/v1/jobs/{job_id}/figure", links["figure"], headers={"Accept": "image/svg+xml"})
    ask("GET", "/v1/jobs/{job_id}/events", links["events"], headers={"Accept": "text/event-stream"})
    ask("POST", "/v1/jobs/{job_id}/cancel", links["cancel"])
    ask("POST", "/v1/jobs", json=spec(), headers={"Prefer": "wait=1"})
    ask("POST", "/v1/batches", json={"jobs": [spec(1), spec(2)]})
    ask("POST", "/v1/jobs", json=spec(3))
    ask("POST", "/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    ask("POST", "/v1/jobs", content=b"{}")
    ask("GET", "/v1/jobs/{job_id}", "/v1/jobs/nope")
    statuses = {status for _, status in seen}
    assert statuses >= {200, 202, 304, 400, 404, 406, 409, 415, 429}


def test_more_event_streams_than_allowed_are_refused_with_another_way(
    limited_service: LiveService, store: JobStore
) -> None:
    """An open stream costs a connection; polling goes on."""
    client = limited_service.client
    links = client.post("/v1/jobs", json=spec()).json()["links"]
    stream = {"Accept": "text/event-stream"}
    with client.stream("GET", links["events"], headers=stream) as first:
        chunks = first.iter_bytes()  # as long as it is held, the stream stays open
        assert next(chunks).startswith(b"retry:")
        refused = client.get(links["events"], headers=stream)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert "PATHPATCH_MAX_EVENT_STREAMS" in refused.json()["detail"] and int(refused.headers["retry-after"]) >= 1
        assert client.get(links["events"]).status_code == 200
