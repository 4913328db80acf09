"""Jobs over HTTP: submit, look ahead, list, wait, cancel, erase."""

import socket
import threading
import time
from typing import Any

import httpx
import pytest

from api_schemas.jobs import Job, ListOf, ValidationReport
from tests.live_service import LiveService, WorkerHand, spec

pytestmark = pytest.mark.integration


def _submit(client: httpx.Client, seed: int = 0, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=spec(seed, **changes))
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_a_submitted_job_is_accepted_and_found_at_its_location(client: httpx.Client) -> None:
    """The first thing every client does."""
    answer = client.post("/v1/jobs", json=spec())
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    job = Job.model_validate_json(answer.content)
    assert (job.status, job.done, job.cached) == ("queued", False, False)
    assert answer.headers["location"] == job.links.self
    again = client.get(answer.headers["location"])
    assert Job.model_validate_json(again.content).id == job.id
    assert job.spec.patch.kind == "path"


def test_prefer_wait_answers_200_when_the_job_ends_in_time(client: httpx.Client, worker: WorkerHand) -> None:
    """A short experiment needs one request."""
    timer = threading.Timer(0.3, worker.work_off)
    timer.start()
    answer = client.post("/v1/jobs", json=spec(), headers={"Prefer": "wait=20"})
    timer.join()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.json()["status"] == "succeeded"


def test_prefer_wait_answers_202_when_the_wait_is_over(client: httpx.Client) -> None:
    """A long experiment must not hold a connection for ever."""
    started = time.monotonic()
    answer = client.post("/v1/jobs", json=spec(), headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert 0.9 < time.monotonic() - started < 5


def test_polling_with_wait_returns_as_soon_as_the_job_ends(client: httpx.Client, worker: WorkerHand) -> None:
    """Long polling costs one request instead of thirty."""
    job = _submit(client)
    timer = threading.Timer(0.3, worker.work_off)
    timer.start()
    started = time.monotonic()
    answer = client.get(job["links"]["self"], headers={"Prefer": "wait=20"})
    timer.join()
    assert answer.json()["done"] and time.monotonic() - started < 5


def test_etag_answers_304_until_something_changes(client: httpx.Client, worker: WorkerHand) -> None:
    """Pollers transfer nothing while nothing happens."""
    job = _submit(client)
    first = client.get(job["links"]["self"])
    assert first.headers["etag"].startswith("W/"), "the estimate of the time left changes in between"
    tag = {"If-None-Match": first.headers["etag"]}
    unchanged = client.get(job["links"]["self"], headers=tag)
    assert unchanged.status_code == 304 and unchanged.content == b""
    worker.work_off()
    assert client.get(job["links"]["self"], headers=tag).status_code == 200


def test_an_equal_spec_is_answered_from_the_earlier_result(client: httpx.Client, worker: WorkerHand) -> None:
    """Nobody should wait for a number that is known; tags and priority do not change it."""
    first = _submit(client)
    worker.work_off()
    again = _submit(client, tags={"other": "yes"}, priority="low")
    assert again["cached"] and again["done"] and again["id"] != first["id"]
    result = client.get(again["links"]["result"]).json()
    assert result["job_id"] == again["id"]
    assert result["patched"] == client.get(first["links"]["result"]).json()["patched"]
    assert not _submit(client, use_cache=False)["cached"]


def test_when_the_result_was_erased_an_equal_spec_runs_again(client: httpx.Client, worker: WorkerHand) -> None:
    """The service remembers what was sent, and that alone answers nothing."""
    first = _submit(client)
    worker.work_off()
    assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
    again = _submit(client)
    assert (again["status"], again["cached"]) == ("queued", False)
    worker.work_off()
    assert client.get(again["links"]["self"]).json()["status"] == "succeeded"


def test_with_wait_a_cached_answer_is_200(client: httpx.Client, worker: WorkerHand) -> None:
    """It has ended in time, trivially."""
    _submit(client)
    worker.work_off()
    answer = client.post("/v1/jobs", json=spec(), headers={"Prefer": "wait=5"})
    assert (answer.status_code, answer.json()["cached"]) == (200, True)


def test_the_list_is_newest_first_in_pages(client: httpx.Client) -> None:
    """Cursor pages neither skip nor repeat."""
    ids = [_submit(client, seed)["id"] for seed in range(5)]
    first = ListOf[Job].model_validate_json(client.get("/v1/jobs?limit=2").content)
    assert [job.id for job in first.data] == ids[:2:-1] and first.has_more
    rest = client.get("/v1/jobs", params={"after": first.data[-1].id, "limit": 100}).json()
    assert [job["id"] for job in rest["data"]] == ids[2::-1] and not rest["has_more"]


def test_a_cursor_that_is_no_job_is_refused(client: httpx.Client) -> None:
    """Otherwise a loop over pages would begin again and never end."""
    answer = client.get("/v1/jobs?after=zzz")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/query/after"


def test_a_page_of_large_specs_is_shorter_and_the_rest_follows(client: httpx.Client) -> None:
    """A hundred specs of a megabyte each would otherwise be built up in memory at once."""
    tokens = [[5] * 60 for _ in range(4000)]
    ids = []
    for seed in range(14):
        dataset = {"kind": "tokens", "orig": tokens, "new": [[6 + seed] * 60, *tokens[1:]]}
        ids.append(_submit(client, dataset=dataset, metric={"kind": "loss"})["id"])
    page = client.get("/v1/jobs?limit=100").json()
    assert page["has_more"] and 0 < len(page["data"]) < 14
    rest = client.get("/v1/jobs", params={"limit": 100, "after": page["data"][-1]["id"]}).json()
    assert [job["id"] for job in page["data"] + rest["data"]] == ids[::-1]


def test_the_list_can_be_narrowed_by_status_model_and_tag(client: httpx.Client, worker: WorkerHand) -> None:
    """A shared server has many jobs."""
    done = _submit(client, 1, tags={"run": "a:b"})
    worker.work_off()
    waiting = _submit(client, 2)

    def found(**query: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=query).json()["data"]]

    assert found(status="succeeded") == [done["id"]]
    assert found(status="queued", model="demo") == [waiting["id"]]
    assert found(tag="run:a:b") == [done["id"]]
    assert found(model="gpt2-small") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/query/limit"),
        ("limit=101", "/query/limit"),
        ("limit=ten", "/query/limit"),
        ("limt=3", "/query/limt"),
        ("status=done", "/query/status"),
        ("tag=novalue", "/query/tag"),
        ("limit=1&limit=2", "/query/limit"),
    ],
)
def test_a_senseless_query_is_refused_by_name(client: httpx.Client, query: str, pointer: str) -> None:
    """A misspelled filter that silently does nothing gives wrong answers."""
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_queued_job_is_cancelled_at_once_and_twice_is_fine(client: httpx.Client) -> None:
    """Retrying a cancel after a lost answer must not look like an error."""
    job = _submit(client)
    for _ in range(2):
        answer = client.post(job["links"]["cancel"])
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")


def test_a_running_job_is_cancelling_first(client: httpx.Client, worker: WorkerHand) -> None:
    """202 says that it is not over yet."""
    job = _submit(client)
    worker.take()
    answer = client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")


def test_a_job_that_succeeded_cannot_be_cancelled(client: httpx.Client, worker: WorkerHand) -> None:
    """Terminal states never change."""
    job = _submit(client)
    worker.work_off()
    answer = client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_cancellable")


def test_a_deleted_job_is_gone_everywhere(client: httpx.Client, worker: WorkerHand) -> None:
    """Erased means record, events and result."""
    job = _submit(client)
    worker.work_off()
    assert client.delete(job["links"]["self"]).status_code == 204
    for link in ("self", "events", "result", "figure"):
        assert client.get(job["links"][link]).status_code == 404
    assert client.delete(job["links"]["self"]).status_code == 404


def test_a_running_job_cannot_be_deleted(client: httpx.Client, worker: WorkerHand) -> None:
    """Cancel it first: a worker is writing to it."""
    job = _submit(client)
    worker.take()
    answer = client.delete(job["links"]["self"])
    assert (answer.status_code, answer.json()["code"]) == (409, "job_still_running")
    assert f"{job['id']} is running: cancel it and wait" in answer.json()["detail"]
    client.post(job["links"]["cancel"])
    assert f"{job['id']} is cancelling: wait until it has ended" in client.delete(job["links"]["self"]).json()["detail"]


def test_a_failed_job_carries_a_problem(client: httpx.Client, worker: WorkerHand) -> None:
    """The error of a job reads like the error of a request."""
    job = _submit(client)
    worker.fail(worker.take())
    error = Job.model_validate_json(client.get(job["links"]["self"]).content).error
    assert error is not None
    assert (error.code, error.instance) == ("checks_failed", job["links"]["self"])
    assert "identity" in error.detail


def test_the_place_in_the_queue_is_shown(client: httpx.Client) -> None:
    """Waiting is bearable when one sees the end of the line."""
    jobs = [_submit(client, seed) for seed in range(3)]
    positions = [client.get(job["links"]["self"]).json()["queue"]["position"] for job in jobs]
    assert positions == [0, 1, 2]


def test_validation_tells_what_would_happen_and_queues_nothing(client: httpx.Client) -> None:
    """Looking ahead is free."""
    answer = client.post("/v1/jobs:validate", json=spec())
    assert answer.status_code == 200
    report = ValidationReport.model_validate_json(answer.content)
    prompt = report.examples[0]
    assert prompt.orig[prompt.roles["IO"]] == prompt.answers["IO"]
    assert report.cells == 1 and report.shards == 1 and report.estimated_result_bytes > 0
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_spec_that_cannot_run_is_refused_with_every_reason(client: httpx.Client) -> None:
    """One round trip tells all that is wrong, before anything is queued."""
    wrong = spec(patch={
        "senders": [{"hook": "z", "layer": 99, "head": 0}],
        "receivers": [{"hook": "q", "layer": 2, "head": 99}],
    })  # fmt: skip
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        answer = client.post(path, json=wrong)
        assert answer.status_code == 422
        pointers = [error["pointer"] for error in answer.json()["errors"]]
        assert pointers == ["/patch/senders/0/layer", "/patch/receivers/0/head"]
    assert client.get("/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {"content-type": "application/json"}, 400, "malformed_json"),
        (b"[" * 100, {"content-type": "application/json"}, 400, "malformed_json"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": "application/json", "content-encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"[]", {"content-type": "application/json"}, 422, "invalid_spec"),
        (b"3", {"content-type": "application/json; charset=utf-8"}, 422, "invalid_spec"),
    ],
)
def test_bodies_that_are_no_specs_get_the_right_status(
    client: httpx.Client, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Each names what is wrong with the request itself."""
    for path in ("/v1/jobs", "/v1/jobs:validate", "/v1/batches"):
        answer = client.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_declared_body_beyond_the_limit_is_refused_unread(service: LiveService) -> None:
    """100 MB are turned away by their header, before a byte of them is sent."""
    head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000000"
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_streamed_body_beyond_the_limit_is_refused_on_the_way(client: httpx.Client) -> None:
    """Without a Content-Length the bytes are counted as they come."""

    def chunks() -> Any:
        for _ in range(40):
            yield b" " * 2**19

    answer = client.post("/v1/jobs", content=chunks(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("job_id", ["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E", "nonsense", "job_../x", "job_01JZ:shards"])
def test_unknown_jobs_are_404_on_every_route(client: httpx.Client, job_id: str) -> None:
    """An id that cannot be one never reaches the store."""
    for path in ("", "/events", "/result", "/figure"):
        assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 404
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("POST", "/v1/jobs/job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E", {"DELETE", "GET", "HEAD", "OPTIONS"}),
        ("GET", "/v1/batches", {"OPTIONS", "POST"}),
        ("DELETE", "/livez", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_another_method_is_405_with_what_is_allowed(
    client: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    """RFC 9110 requires Allow."""
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.headers["allow"].split(", ")) == allowed
    options = client.options(path)
    assert options.status_code == 204 and set(options.headers["allow"].split(", ")) == allowed


def test_head_answers_like_get_without_a_body(client: httpx.Client) -> None:
    """Link checkers and caches ask so."""
    job = _submit(client)
    answer = client.head(job["links"]["self"])
    assert answer.status_code == 200 and answer.content == b""
    assert answer.headers["etag"] == client.get(job["links"]["self"]).headers["etag"]
    assert int(answer.headers["content-length"]) > 100


def test_request_ids_are_passed_through_or_made(client: httpx.Client) -> None:
    """One id through all logs of a call chain."""
    assert client.get("/v1/jobs", headers={"X-Request-Id": "trace-7"}).headers["x-request-id"] == "trace-7"
    made = client.get("/v1/jobs/nope", headers={"X-Request-Id": "bad id\t!"})
    assert made.headers["x-request-id"].startswith("req_")
    assert made.json()["request_id"] == made.headers["x-request-id"]


def test_every_answer_tells_the_version_of_the_service(client: httpx.Client) -> None:
    """Also errors: a client can see that it is older or newer than the service."""
    version = client.get("/version").json()["version"]
    for answer in (client.get("/v1/jobs"), client.get("/nowhere"), client.post("/v1/jobs", content=b"{")):
        assert answer.headers["pathpatch-version"] == version


def test_a_job_past_its_deadline_expires(client: httpx.Client) -> None:
    """The reaper of the service ends it, without any worker."""
    job = _submit(client, expires_after_s=0.2)
    answer = client.get(job["links"]["self"], headers={"Prefer": "wait=10"})
    assert answer.json()["status"] == "expired"
