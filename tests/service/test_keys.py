"""API keys over HTTP: scopes, expiry, limits, and that nobody sees another key's jobs."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from job_store.keys import create_key, sha256_of
from job_store.records import Limits
from job_store.store import JobStore
from job_store.workers import beat
from service.app import create_app
from service.settings import Settings
from tests.embedded_valkey import EmbeddedValkey, free_port
from tests.live_service import ROOT, LiveService, WorkerHand, live_service, spec

pytestmark = pytest.mark.integration

ADMIN = "admin-secret-of-the-operator-0123456789"
OPEN = {"/livez", "/readyz", "/version"}
PAGES = {"/", "/docs", "/openapi.json", "/web/plotly.min.js", "/web/presets.json"}
APP = create_app(Settings())
OPERATIONS = [(method.upper(), path) for path, operations in APP.openapi()["paths"].items() for method in operations]
GUARDED = [(method, path) for method, path in OPERATIONS if path not in OPEN]
SCOPES = {
    "submit": {
        ("POST", "/v1/jobs"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/jobs/{job_id}/cancel"),
        ("POST", "/v1/jobs/{job_id}/rerun"),
        ("POST", "/v1/batches/{batch_id}/cancel"),
        ("DELETE", "/v1/jobs/{job_id}"),
    },
    "admin": {("GET", "/v1/keys"), ("POST", "/v1/keys"), ("DELETE", "/v1/keys/{key}"), ("GET", "/v1/webhooks/dead")},
}
"""Every other route that needs a key needs the scope `read`, or at these two either of both."""
EITHER = {("POST", "/v1/jobs:validate"), ("GET", "/v1/me")}


@pytest.fixture(scope="module")
def guarded_service(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service that needs keys."""
    with live_service(valkey, tmp_path_factory.mktemp("keys") / "service.log", admin_key=ADMIN) as service:
        yield service


@pytest.fixture
def anyone(guarded_service: LiveService, store: JobStore) -> httpx.Client:
    """Talks to the service without a key."""
    return guarded_service.client


def _as(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def _new_key(client: httpx.Client, name: str, **wanted: Any) -> dict[str, str]:
    """Headers of a new key."""
    answer = client.post("/v1/keys", json={"name": name, **wanted}, headers=_as(ADMIN))
    assert answer.status_code == 201, answer.text
    return _as(answer.json()["secret"])


def _path(template: str, job_id: str, batch_id: str) -> str:
    names = {"{job_id}": job_id, "{batch_id}": batch_id, "{name}": "demo", "{key}": "nobody"}
    for name, value in names.items():
        template = template.replace(name, value)
    return template


@pytest.mark.parametrize(("method", "template"), GUARDED)
def test_every_route_refuses_a_request_without_a_key(anyone: httpx.Client, method: str, template: str) -> None:
    """No route may be forgotten."""
    path = _path(template, "job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E", "batch_01JZ8Q5W3T9V6X2Y4A7B0C1D2E")
    for headers in ({}, _as("pp_wrong"), {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        answer = anyone.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_no_route_is_missing_from_the_documentation_that_these_tests_go_through() -> None:
    """Every route of every resource and every page; what is mounted are files."""
    routes = {(method, route.path) for route in APP.state.routes for method in route.methods - {"HEAD"}}
    assert routes - {("GET", page) for page in PAGES} == set(OPERATIONS)


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/nope", "/v1/batches/nope", "/v1/jobs?limit=0", "/v1/jobs?colour=red", "/v1/models/x?limit=1&limit=2"],
)
def test_nothing_of_a_request_is_looked_at_before_its_key(anyone: httpx.Client, path: str) -> None:
    """Whoever has none learns nothing, not even what a parameter may be."""
    assert anyone.get(path).status_code == 401


def test_health_version_and_documentation_need_no_key(anyone: httpx.Client) -> None:
    """Probes and people must get there without one."""
    for path in ("/livez", "/readyz", "/version", "/docs", "/openapi.json", "/", "/?utm_source=mail"):
        assert anyone.get(path).status_code in (200, 307)


JOB_ROUTES = [(method, template) for method, template in GUARDED if "_id}" in template]
assert len(JOB_ROUTES) >= 8, "the documented routes of jobs and batches"


@pytest.mark.parametrize(("method", "template"), JOB_ROUTES)
def test_another_keys_job_is_404_on_every_route(anyone: httpx.Client, method: str, template: str) -> None:
    """Not even that it exists may be learned."""
    ana, ben = _new_key(anyone, "ana"), _new_key(anyone, "ben")
    batch = anyone.post("/v1/batches", json={"jobs": [spec()]}, headers=ana).json()
    path = _path(template, batch["jobs"][0], batch["id"])
    foreign = anyone.request(method, path, headers=ben)
    missing = anyone.request(method, path.replace(path.split("_")[1][:6], "01ZZZZ"), headers=ben)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json()["code"] == missing.json()["code"]
    assert anyone.request(method, path, headers=ana).status_code < 300


def test_lists_show_own_jobs_only_and_admins_see_all(anyone: httpx.Client) -> None:
    """Fifteen people share a server."""
    ana, ben = _new_key(anyone, "ana"), _new_key(anyone, "ben")
    mine = anyone.post("/v1/jobs", json=spec(), headers=ana).json()["id"]
    assert anyone.get("/v1/jobs", headers=ben).json()["data"] == []
    for headers in (ana, _as(ADMIN)):
        assert [job["id"] for job in anyone.get("/v1/jobs", headers=headers).json()["data"]] == [mine]


def test_workers_name_the_callers_own_job_and_no_other(anyone: httpx.Client, store: JobStore) -> None:
    """Where does mine run? Whose else runs is nobody's business but an administrator's."""
    ana, ben = _new_key(anyone, "ana"), _new_key(anyone, "ben")
    anyone.post("/v1/jobs", json=spec(), headers=ana)
    held = WorkerHand(store).take()
    description = {"device": "cpu", "models": ["demo"], "serves": ["demo"]}
    store.run(beat("busy", {**description, "running": held.name}, 30.0))
    store.run(beat("idle", {**description, "running": None}, 30.0))

    def running(headers: dict[str, str]) -> dict[str, str | None]:
        return {worker["id"]: worker["running"] for worker in anyone.get("/v1/workers", headers=headers).json()["data"]}

    assert running(ana) == running(_as(ADMIN)) == {"busy": f"{held.job_id}/0/0", "idle": None}
    assert running(ben) == {"busy": "a job", "idle": None}


def test_an_idempotency_key_is_the_callers_own(anyone: httpx.Client) -> None:
    """Two people may number their requests alike, and neither gets the other's job."""
    ana, ben = _new_key(anyone, "ana"), _new_key(anyone, "ben")
    name = {"Idempotency-Key": "1"}
    mine = anyone.post("/v1/jobs", json=spec(), headers=ana | name).json()["id"]
    theirs = anyone.post("/v1/jobs", json=spec(1), headers=ben | name)
    assert theirs.status_code == 202 and theirs.json()["id"] != mine


def test_a_result_is_not_shared_between_keys(
    anyone: httpx.Client, guarded_service: LiveService, store: JobStore
) -> None:
    """A cached answer would tell what another key computes."""
    ana, ben = _new_key(anyone, "ana"), _new_key(anyone, "ben")
    anyone.post("/v1/jobs", json=spec(), headers=ana)
    WorkerHand(store).work_off()
    assert not anyone.post("/v1/jobs", json=spec(), headers=ben).json()["cached"]
    assert anyone.post("/v1/jobs", json=spec(), headers=ana).json()["cached"]


@pytest.mark.parametrize(("method", "template"), GUARDED)
def test_scopes_open_what_they_say(anyone: httpx.Client, method: str, template: str) -> None:
    """A dashboard needs no more than to look, and a robot that submits need not see what others of its key did.

    The schema names the same scopes.
    """
    ways = APP.openapi()["paths"][template][method.lower()]["security"]
    documented = {scope for way in ways for scope in way.get("ApiKey", ())}
    needed = next((scope for scope, operations in SCOPES.items() if (method, template) in operations), "read")
    path = _path(template, "job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E", "batch_01JZ8Q5W3T9V6X2Y4A7B0C1D2E")
    for scope in ("read", "submit", "admin"):
        answer = anyone.request(method, path, headers=_new_key(anyone, scope, scopes=[scope]))
        is_open = scope in (needed, "admin") or (method, template) in EITHER
        assert (answer.status_code != 403) == is_open, (scope, answer.text)
        assert is_open == (scope in documented | {"admin"})
        assert is_open or answer.json()["code"] == "forbidden"


def test_me_tells_the_keys_name_limits_and_use(anyone: httpx.Client) -> None:
    """A client can see what it may still do, in each of the limits."""
    ana = _new_key(anyone, "ana", limits={"submits_per_minute": 10})
    anyone.post("/v1/jobs", json=spec(), headers=ana)
    me = anyone.get("/v1/me", headers=ana).json()
    assert (me["name"], me["limits"]["submits_per_minute"]) == ("ana", 10)
    assert me["use"].pop("store_bytes") > 4096
    assert me["use"] == {"queued_jobs": 1, "running_shards": 0, "submits_left": 9, "compute_s_today": 0.0}


def test_a_revoked_key_opens_nothing(anyone: httpx.Client) -> None:
    """Within seconds, on every process; on this one at once."""
    ana = _new_key(anyone, "ana")
    assert anyone.get("/v1/jobs", headers=ana).status_code == 200
    assert anyone.delete("/v1/keys/ana", headers=_as(ADMIN)).status_code == 204
    assert anyone.get("/v1/jobs", headers=ana).status_code == 401
    assert anyone.delete("/v1/keys/ana", headers=_as(ADMIN)).status_code == 404


def test_a_name_that_several_keys_have_revokes_none_of_them(anyone: httpx.Client, guarded_service: LiveService) -> None:
    """Two people may call their keys alike, and an administrator who means one must not end both."""
    first, second = _new_key(anyone, "svc"), _new_key(anyone, "svc")
    ids = [anyone.get("/v1/me", headers=headers).json()["id"] for headers in (first, second)]
    refused = anyone.delete("/v1/keys/svc", headers=_as(ADMIN))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameter")
    assert refused.json()["detail"] == f"2 keys are named 'svc': give the id, one of {ids[0]}, {ids[1]}"
    assert _cli(guarded_service, "keys", "revoke", "svc").stderr.count("key_") == 2
    assert {anyone.get("/v1/me", headers=headers).status_code for headers in (first, second)} == {200}
    assert _cli(guarded_service, "keys", "revoke", ids[1]).returncode == 0
    assert [anyone.get("/v1/me", headers=headers).status_code for headers in (first, second)] == [200, 401]
    assert anyone.delete("/v1/keys/svc", headers=_as(ADMIN)).status_code == 204


def _cli(service: LiveService, *words: str, key: str = ADMIN) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PATHPATCH_URL": service.url, "PATHPATCH_API_KEY": key, "COLUMNS": "300"}
    command = [sys.executable, "-m", "pathpatch.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def test_an_expired_key_does_not_make_a_name_ambiguous(anyone: httpx.Client, store: JobStore) -> None:
    """A key that is renewed under its name can be revoked by it; the expired one by its id."""
    _new_key(anyone, "visit", expires_after_s=0.01)
    renewed = _new_key(anyone, "visit")
    time.sleep(0.02)
    assert anyone.delete("/v1/keys/visit", headers=_as(ADMIN)).status_code == 204
    assert anyone.get("/v1/me", headers=renewed).status_code == 401
    expired = anyone.get("/v1/keys", headers=_as(ADMIN)).json()["data"][0]
    assert not expired["revoked"]
    assert anyone.delete(f"/v1/keys/{expired['id']}", headers=_as(ADMIN)).status_code == 204


def test_the_event_stream_of_a_revoked_key_ends_without_another_event(anyone: httpx.Client) -> None:
    """Though it was opened while the key was valid."""
    ana = _new_key(anyone, "ana")
    path = anyone.post("/v1/jobs", json=spec(), headers=ana).json()["links"]["self"]
    with anyone.stream("GET", f"{path}/events", headers=ana | {"Accept": "text/event-stream"}) as stream:
        lines = stream.iter_lines()
        assert any('"queued"' in line for line in lines)
        anyone.delete("/v1/keys/ana", headers=_as(ADMIN))
        anyone.post(f"{path}/cancel", headers=_as(ADMIN))
        assert not any("cancelled" in line for line in lines)


def test_an_expired_key_opens_nothing(anyone: httpx.Client, store: JobStore) -> None:
    """Keys for a visit end with it."""
    step = create_key(
        "old", sha256_of("pp_old"), scopes=["read"], limits=Limits(), expires_ms=round(time.time() * 1000) - 1000
    )
    store.run(step)
    refused = anyone.get("/v1/jobs", headers=_as("pp_old"))
    assert refused.status_code == 401
    assert re.search(rf"'old' expired at {time.gmtime().tm_year}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", refused.json()["detail"])


def test_me_tells_when_the_key_ends(anyone: httpx.Client, guarded_service: LiveService) -> None:
    """A robot can ask for another key in time; of one without an end the field is null."""
    soon, never = _new_key(anyone, "soon", expires_after_s=3600), _new_key(anyone, "never")
    ends = datetime.fromisoformat(anyone.get("/v1/me", headers=soon).json()["expires_at"]).timestamp()
    assert 3500 < ends - time.time() <= 3600
    told = _cli(guarded_service, "me", key=soon["Authorization"].removeprefix("Bearer ")).stdout
    assert f", until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC\n" in told
    assert anyone.get("/v1/me", headers=never).json()["expires_at"] is None


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, "send an API key"),
        ({"Authorization": "pp_raw"}, "does not begin with the word Bearer"),
        ({"Authorization": "Basic eDp5"}, "does not begin with the word Bearer"),
        ({"X-API-Key": "pp_raw"}, "X-API-Key is not read"),
    ],
)
def test_a_key_sent_in_another_way_is_told_apart_from_none(
    anyone: httpx.Client, headers: dict[str, str], told: str
) -> None:
    """Whoever has a key needs to know what is wrong with its header; the key itself is not repeated."""
    detail = anyone.get("/v1/me", headers=headers).json()["detail"]
    assert told in detail and "`Authorization: Bearer pp_...`" in detail and "raw" not in detail


def test_secrets_are_shown_once_and_stored_nowhere(
    anyone: httpx.Client, store: JobStore, guarded_service: LiveService, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Neither a list nor the store nor the log gives a key away."""
    secret = _new_key(anyone, "ana")["Authorization"].removeprefix("Bearer ")
    anyone.get("/v1/jobs", headers=_as(secret))
    assert len(secret) >= 43
    listed = anyone.get("/v1/keys", headers=_as(ADMIN)).text
    assert secret not in listed and sha256_of(secret) not in listed
    assert "last_used_at" in listed
    dumped = b"".join(store.client.dump(key) or b"" for key in store.client.scan_iter("*"))
    assert secret.encode() not in dumped
    logs = "".join(path.read_text() for path in tmp_path_factory.getbasetemp().glob("*/service.log"))
    assert secret not in logs and ADMIN not in logs


def test_a_limit_on_submits_answers_429_with_the_fields_to_wait_by(anyone: httpx.Client) -> None:
    """A polite client can pace itself before it is refused."""
    ana = _new_key(anyone, "ana", limits={"submits_per_minute": 2})
    first = anyone.post("/v1/jobs", json=spec(0), headers=ana)
    assert first.headers["ratelimit-policy"] == '"submits";q=2;w=60'
    assert first.headers["ratelimit"].startswith('"submits";r=1;t=')
    assert anyone.post("/v1/jobs", json=spec(1), headers=ana).status_code == 202
    refused = anyone.post("/v1/jobs", json=spec(2), headers=ana)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert refused.json()["retryable"] and int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit"].startswith('"submits";r=0;t=')


def test_after_retry_after_a_submit_is_accepted(anyone: httpx.Client) -> None:
    """42 a minute is one every 1.43 s: whoever waits as told must not be refused again."""
    ana = _new_key(anyone, "ana", limits={"submits_per_minute": 42})
    assert anyone.post("/v1/batches", json={"jobs": [spec(i) for i in range(42)]}, headers=ana).status_code == 202
    refused = anyone.post("/v1/jobs", json=spec(42), headers=ana)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    time.sleep(2)
    assert anyone.post("/v1/jobs", json=spec(42), headers=ana).status_code == 202


@pytest.mark.parametrize("limit", ["queued_jobs", "submits_per_minute"])
def test_a_batch_that_can_never_fit_is_said_to_be_too_large(anyone: httpx.Client, limit: str) -> None:
    """A client that retries what is retryable would go on for ever."""
    ana = _new_key(anyone, "ana", limits={limit: 2})
    refused = anyone.post("/v1/batches", json={"jobs": [spec(i) for i in range(3)]}, headers=ana)
    assert (refused.status_code, refused.json()["retryable"]) == (429, False)
    assert f"{limit}: this key is allowed 2 and this request alone asks for 3" in refused.json()["detail"]
    assert "retry-after" not in refused.headers


def test_a_limit_on_computing_answers_429_until_midnight(anyone: httpx.Client, store: JobStore) -> None:
    """What is used up comes back with the new day (UTC)."""
    ana = _new_key(anyone, "ana", limits={"compute_s_per_day": 0.01})
    anyone.post("/v1/jobs", json=spec(0), headers=ana)
    hand = WorkerHand(store)
    held = hand.take()
    time.sleep(0.02)
    hand.finish(held)
    assert anyone.get("/v1/me", headers=ana).json()["use"]["compute_s_today"] > 0.01
    refused = anyone.post("/v1/jobs", json=spec(1), headers=ana)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    told = r"compute_s_per_day: this key is allowed 0\.01 and has used 0\.\d+\. Try again after midnight \(UTC\)\."
    assert re.fullmatch(told, refused.json()["detail"]) and 0 < int(refused.headers["retry-after"]) <= 86_400
    assert refused.headers["ratelimit-policy"].startswith('"compute_s";q=0;w=86400')
    assert refused.headers["ratelimit"].startswith('"compute_s";r=0;t=')


def test_a_limit_on_running_shards_lets_the_next_wait(anyone: httpx.Client, store: JobStore) -> None:
    """It is no reason to refuse a job; another key's go on."""
    ana, ben = _new_key(anyone, "ana", limits={"running_shards": 1}), _new_key(anyone, "ben")
    hand = WorkerHand(store)
    for seed in range(2):
        assert anyone.post("/v1/jobs", json=spec(seed), headers=ana).status_code == 202
    held = hand.take()
    job = anyone.post("/v1/jobs", json=spec(), headers=ben).json()
    assert hand.take().job_id == job["id"]
    assert anyone.get("/v1/jobs?status=queued", headers=ana).json()["data"]
    hand.finish(held)
    assert hand.take().job_id != job["id"]


def test_a_limit_on_queued_jobs_answers_429_until_one_has_started(anyone: httpx.Client, store: JobStore) -> None:
    """Only what waits counts."""
    ana = _new_key(anyone, "ana", limits={"queued_jobs": 1})
    assert anyone.post("/v1/jobs", json=spec(0), headers=ana).status_code == 202
    refused = anyone.post("/v1/jobs", json=spec(1), headers=ana)
    assert (refused.status_code, refused.json()["retryable"], refused.headers["retry-after"]) == (429, True, "5")
    assert refused.headers["ratelimit-policy"] == '"queued_jobs";q=1'
    assert refused.headers["ratelimit"] == '"queued_jobs";r=0'
    WorkerHand(store).take()
    assert anyone.post("/v1/jobs", json=spec(1), headers=ana).status_code == 202


def test_a_limit_on_queued_jobs_counts_batches_as_a_whole(anyone: httpx.Client) -> None:
    """All or none also holds for quotas."""
    ana = _new_key(anyone, "ana", limits={"queued_jobs": 2})
    three = {"jobs": [spec(seed) for seed in range(3)]}
    assert anyone.post("/v1/batches", json=three, headers=ana).status_code == 429
    assert anyone.get("/v1/jobs", headers=ana).json()["data"] == []
    assert anyone.post("/v1/batches", json={"jobs": three["jobs"][:2]}, headers=ana).status_code == 202


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "a", "scopes": []}, {"name": "a", "scopes": ["root"]}, {"name": "a", "x": 1}]
)
def test_a_senseless_key_is_refused(anyone: httpx.Client, body: object) -> None:
    """With the field that is wrong."""
    answer = anyone.post("/v1/keys", json=body, headers=_as(ADMIN))
    assert answer.status_code == 422 and answer.json()["errors"]


def test_beyond_loopback_the_service_refuses_to_start_without_any_key(
    valkey: EmbeddedValkey, store: JobStore, tmp_path: Path
) -> None:
    """Better not to run than to be open to a whole network."""
    environment = {"PATHPATCH_HOST": "0.0.0.0", "PATHPATCH_PORT": str(free_port()), "REDIS_URL": valkey.url}  # noqa: S104
    ended = subprocess.run(
        [sys.executable, "-m", "service"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode != 0
    assert "needs API keys" in ended.stderr and "Traceback" not in ended.stderr


def test_without_keys_only_local_names_are_answered(shared_service: LiveService, store: JobStore) -> None:
    """A page of another site whose name resolves to 127.0.0.1 must not reach an open service."""
    answer = shared_service.client.get("/v1/jobs", headers={"Host": "evil.example"})
    assert answer.status_code == 403
    for host in ("localhost", "127.0.0.1:8000", "[::1]:8000"):
        assert shared_service.client.get("/v1/jobs", headers={"Host": host}).status_code == 200
