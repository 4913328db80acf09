"""The client against answers made at the edge of the process: what it sends, repeats, reads and says."""

import asyncio
import json
import time

import httpx
import numpy as np
import pytest

import pathpatch as pp
from api_schemas.errors import Unauthenticated
from pathpatch.client.calls import UnreadableAnswer
from pathpatch.client.connection import VersionMismatch
from pathpatch.client.retries import MOST_RETRIES
from pathpatch.problems import JobFailed, ServiceError, SpecError, Unreachable, WaitTimedOut
from pathpatch.progress import text_bar
from pathpatch.results import Result
from pathpatch.results.files import to_npz

SPEC = {
    "model": {"name": "demo"},
    "dataset": {"kind": "ioi", "examples": 4},
    "patch": {
        "senders": [{"hook": "z", "layer": 1, "head": 2}],
        "receivers": [{"hook": "q", "layer": 2, "head": 3}],
    },
    "metric": {"kind": "attention", "query": "end", "key": "IO"},
}
RESULT = {
    "job_id": "job_1", "metric": {"kind": "attention", "unit": "probability"}, "axes": ["example"], "shape": [2],
    "coordinates": {"example": [0, 1]}, "patched": [0.1, 0.2], "orig": [0.5, 0.5], "new": [0.0, 0.0], "summary": {},
    "unreachable_senders": [], "checks": {"identity_max_abs": 0.0}, "provenance": {"model": "demo"},
    "timings": {"queued_s": 0.0, "run_s": 0.1},
}  # fmt: skip
PROBLEM = {
    "type": "https://pathpatch.dev/errors/invalid_spec", "title": "The spec cannot run", "status": 422,
    "detail": "/patch/senders/0/head: head 13 does not exist: this model has heads 0 to 7", "code": "invalid_spec",
    "errors": [
        {"pointer": "/patch/senders/0/head", "message": "head 13 does not exist: this model has heads 0 to 7"},
        {"pointer": "/metric/query", "message": "role 'ned' is not one of IO, S1, end"},
    ],
}  # fmt: skip


def job(status="queued", done=0, job_id="job_1", **more):
    """A job as the service sends it."""
    return {
        "id": job_id, "object": "job", "status": status, "created_at": "2026-11-23T09:30:00.000Z",
        "done": status in ("succeeded", "failed", "cancelled", "expired"), "attempt": 1, "model": "demo", "tags": {},
        "progress": {"done": done, "total": 4, "unit": "shard", "eta_s": 1.5}, "queue": {"position": None},
        "spec": SPEC, "cached": False,
        "links": dict.fromkeys(("self", "result", "events", "figure", "cancel"), f"/v1/jobs/{job_id}"),
    } | more  # fmt: skip


class Service:
    """Answers each request by the next of a list, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, **options):
        return pp.Client("http://service", transport=httpx.MockTransport(self), **options)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Retries wait seconds; tests need not. What would have been waited is kept."""
    paused = []
    monkeypatch.setattr(time, "sleep", paused.append)
    return paused


def ok(body, status=200, **headers):
    return httpx.Response(status, json=body, headers=headers)


def test_submit_sends_the_spec_and_an_idempotency_key():
    """The key is what makes a retry safe, so nobody may have to think of it."""
    service = Service(ok(job(), 202))
    handle = service.client(api_key="pp_secret").submit(SPEC)
    (request,) = service.asked
    assert (request.method, request.url.path) == ("POST", "/v1/jobs")
    assert json.loads(request.content) == SPEC
    assert len(request.headers["idempotency-key"]) == 32
    assert request.headers["authorization"] == "Bearer pp_secret"
    assert (handle.id, handle.status, handle.done) == ("job_1", "queued", False)


def test_url_and_key_come_from_the_environment(monkeypatch):
    """A notebook on a lab's machine needs no arguments."""
    monkeypatch.setenv("PATHPATCH_URL", "http://lab:9000/")
    monkeypatch.setenv("PATHPATCH_API_KEY", "pp_lab")
    service = Service(ok({"version": "0.1.0"}))
    client = pp.Client(transport=httpx.MockTransport(service))
    client.version()
    assert client.url == "http://lab:9000"
    assert service.asked[0].headers["authorization"] == "Bearer pp_lab"


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.Response(503, headers={"retry-after": "2"}, json={}),
        httpx.Response(429, headers={"retry-after": "2"}, json={}),
        httpx.Response(409, headers={"retry-after": "2"}, json=PROBLEM | {"code": "idempotency_key_in_flight"}),
    ],
)
def test_a_submit_is_repeated_with_the_same_key(trouble, no_pauses):
    """Also when the reply was lost: the service answers the repeat with the job it has made."""
    service = Service(trouble, ok(job(), 202))
    assert service.client().submit(SPEC).id == "job_1"
    first, second = service.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert len(no_pauses) == 1
    if isinstance(trouble, httpx.Response):
        assert no_pauses == [2.0]


def test_a_dict_may_hold_numpys_numbers_and_nodes():
    """As the constructors take them."""
    service = Service(ok(job(), 202))
    patch = {"senders": pp.heads((np.int64(1), np.int64(2))), "receivers": SPEC["patch"]["receivers"]}
    service.client().submit(SPEC | {"dataset": {"kind": "ioi", "examples": np.int64(4)}, "patch": patch})
    assert json.loads(service.asked[0].content) == SPEC


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan"), object(), {1, 2}])
def test_what_is_no_json_is_a_spec_error(value):
    """Not a TypeError out of the middle of the client; and nothing is sent."""
    service = Service()
    with pytest.raises(SpecError, match="the spec cannot be written as JSON"):
        service.client().submit(SPEC | {"expires_after_s": value})
    assert service.asked == []


@pytest.mark.parametrize(
    "ask", [lambda client: client.get("job_1"), lambda client: client.models(), lambda client: client.result("job_1")]
)
def test_an_answer_of_an_old_service_is_one_readable_error(ask):
    """Which side is of which version, and what to do; not thirty lines of pydantic."""
    old = httpx.Response(200, json={"id": "job_1"}, headers={"pathpatch-version": "0.0.9"})
    with pytest.warns(VersionMismatch), pytest.raises(UnreadableAnswer) as error:
        ask(Service(old).client())
    said = str(error.value)
    assert "The service is pathpatch 0.0.9, this client 0.1.0: install the same version on both sides" in said
    assert len(said.splitlines()) == 1


def test_a_result_that_cannot_be_read_is_one_readable_error():
    """Its arrays have had other names."""
    ended = ok(job("succeeded", 4))
    old = httpx.Response(200, json={"effects": [1.0]}, headers={"pathpatch-version": "0.1.9"})
    with pytest.raises(UnreadableAnswer, match=r"no result that this client knows \(KeyError: 'metric'\)"):
        Service(ended, old).client().result("job_1")


def test_a_job_shows_its_state_and_what_it_asks_in_a_notebook():
    """A cell that ends in a job shows more than an object's address."""
    problem = PROBLEM | {"detail": "head <13> does not exist"}
    html = Service(ok(job("failed", 4, error=problem))).client().get("job_1")._repr_html_()
    assert "z 1.2 → q 2.3" in html and "job_1  failed" in html and "head &lt;13&gt; does not exist" in html


def test_two_submits_of_one_spec_are_two_jobs():
    """The key belongs to the call, not to the spec."""
    service = Service(ok(job(), 202), ok(job(), 202))
    client = service.client()
    client.submit(SPEC)
    client.submit(SPEC)
    assert service.asked[0].headers["idempotency-key"] != service.asked[1].headers["idempotency-key"]


def test_retries_end():
    """An outage must become an error, and one that says what to do."""
    service = Service(*[httpx.ConnectError("connection refused")] * 9)
    with pytest.raises(Unreachable, match="pathpatch up"):
        service.client().submit(SPEC)
    assert len(service.asked) == MOST_RETRIES + 1


def test_nothing_on_this_machine_is_told_at_once(no_pauses):
    """Who forgot `pathpatch up` should not wait eight seconds to hear it."""
    service = Service(*[httpx.ConnectError("connection refused")] * 9)
    client = pp.Client("http://127.0.0.1:8000", transport=httpx.MockTransport(service))
    with pytest.raises(Unreachable, match=r"pathpatch\.local"):
        client.version()
    assert sum(no_pauses) < 1.0


def test_a_full_store_is_told_although_the_service_is_known(no_pauses):
    """It is there: that is no restart to wait minutes for."""
    full = httpx.Response(
        503,
        json=PROBLEM | {"code": "store_full", "retryable": True},
        headers={"retry-after": "2", "pathpatch-version": pp.__version__},
    )
    service = Service(*[full] * 9)
    with pytest.raises(ServiceError, match="store_full"):
        service.client().submit(SPEC)
    assert len(service.asked) == MOST_RETRIES + 1 and sum(no_pauses) == 10.0


def test_keys_are_made_listed_and_revoked():
    """For administrators; making one is not repeated, as it would make two."""
    key = {
        "id": "key_1", "object": "key", "name": "ana", "scopes": ["read"], "limits": {}, "revoked": False,
        "created_at": "2026-11-23T09:30:00Z",
    }  # fmt: skip
    service = Service(
        ok(key | {"secret": "pp_x"}, 201), ok({"data": [key], "has_more": False}), httpx.Response(204),
        httpx.ReadError("reset"),
    )  # fmt: skip
    client = service.client()
    assert client.create_key("ana", ["read"]).secret == "pp_x"  # noqa: S105
    assert [one.name for one in client.keys()] == ["ana"]  # noqa: SIM118
    client.revoke_key("ana")
    with pytest.raises(Unreachable):
        client.create_key("ana")
    assert len(service.asked) == 4


def test_a_refusal_that_will_not_change_is_not_repeated(no_pauses):
    """A batch larger than the key's limit never fits, however long one waits."""
    problem = PROBLEM | {"code": "quota_exceeded", "retryable": False}
    service = Service(httpx.Response(429, headers={"retry-after": "5"}, json=problem))
    with pytest.raises(ServiceError):
        service.client().submit(SPEC)
    assert len(service.asked) == 1 and no_pauses == []


def test_a_key_that_cannot_be_sent_is_refused_without_being_shown():
    """httpx would quote it, or end in a traceback; one that was read from a file with its line break is fine."""
    for key in ("pp_a b", "pp_a\nb", "pp_\u00e9"):
        with pytest.raises(Unauthenticated) as caught:
            pp.Client(api_key=key)
        assert key not in str(caught.value)
    service = Service(ok(job()))
    service.client(api_key="pp_secret\n").get("job_1")
    assert service.asked[0].headers["authorization"] == "Bearer pp_secret"


def test_a_long_retry_after_is_told_instead_of_slept():
    """A quota that is used up until tomorrow is not waited for."""
    service = Service(
        httpx.Response(
            429, headers={"retry-after": "3600"}, json=PROBLEM | {"code": "quota_exceeded", "retryable": True}
        )
    )
    with pytest.raises(ServiceError) as caught:
        service.client().submit(SPEC)
    assert (caught.value.code, caught.value.retry_after_s) == ("quota_exceeded", 3600.0)


def test_a_refusal_carries_every_field_and_reads_well():
    """The message is what a researcher sees; the fields are what a program uses."""
    service = Service(httpx.Response(422, json=PROBLEM))
    with pytest.raises(ServiceError) as caught:
        service.client().submit(SPEC)
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.pointer) == (422, "invalid_spec", "/patch/senders/0/head")
    assert str(refusal) == (
        "The spec cannot run (422 invalid_spec)\n"
        "  /patch/senders/0/head: head 13 does not exist: this model has heads 0 to 7\n"
        "  /metric/query: role 'ned' is not one of IO, S1, end"
    )
    assert len(service.asked) == 1


def test_a_proxy_in_between_may_answer_in_its_own_words():
    """A 404 page of nginx is no problem document, and still becomes an error that says what came."""
    service = Service(httpx.Response(404, text="<html>not here</html>"))
    with pytest.raises(ServiceError, match="not here"):
        service.client().get("job_1")


def test_run_waits_and_reads_the_arrays():
    """One line from spec to numbers; the arrays come as npz, at full precision."""
    npz = httpx.Response(200, content=to_npz(Result.from_json(RESULT)), headers={"content-type": "application/x-npz"})
    service = Service(ok(job(), 202), ok(job("running", 2)), ok(job("succeeded", 4)), npz)
    result = service.client().run(SPEC)
    assert result.effect.tolist() == pytest.approx([-0.4, -0.3])
    assert result.spec is not None and result.spec["model"]["name"] == "demo"
    assert [request.headers.get("prefer") for request in service.asked] == [None, "wait=60", "wait=60", None]


def test_an_older_service_may_answer_json_only():
    """The content type decides, not what was asked for."""
    service = Service(ok(job("succeeded", 4)), ok(RESULT))
    assert service.client().result("job_1").orig.tolist() == [0.5, 0.5]


def test_progress_is_told_step_by_step():
    """What the bar shows; here a function takes its place."""
    seen = []
    service = Service(ok(job(), 202), ok(job("running", 2)), ok(job("succeeded", 4)))
    service.client().submit(SPEC).wait(progress=lambda now: seen.append((now.status, now.progress.done)))
    assert seen == [("queued", 0), ("running", 2), ("succeeded", 4)]
    assert "running   50%|" in text_bar(pp.Client("http://x", transport=httpx.MockTransport(
        lambda request: ok(job("running", 2)))).get("job_1").job)  # fmt: skip


def test_a_failed_job_raises_its_problem():
    """The worker's words reach the notebook."""
    failed = job("failed", error=PROBLEM | {"code": "checks_failed", "detail": "identity is not exact", "errors": []})
    service = Service(ok(failed))
    with pytest.raises(JobFailed, match="job job_1 failed: identity is not exact") as caught:
        service.client().result("job_1")
    assert caught.value.problem is not None and caught.value.problem.code == "checks_failed"


def test_a_wait_that_is_too_long_ends_and_the_job_goes_on():
    """Nobody asked for the job to be cancelled."""
    service = Service(ok(job("running")), *[ok(job("running"))] * 3)
    with pytest.raises(WaitTimedOut, match="still running after 0 s"):
        service.client().get("job_1").wait(timeout_s=0)
    assert all(request.method == "GET" for request in service.asked)


def test_fields_of_a_newer_service_are_ignored_and_its_version_warned_of():
    """A lab upgrades its server before its notebooks."""
    newer = ok(job(mood="sunny", progress={"done": 1, "total": 2, "unit": "shard", "speed": 3}), **{
        "pathpatch-version": "0.9.0"
    })  # fmt: skip
    service = Service(newer)
    with pytest.warns(VersionMismatch, match=r"0\.9\.0"):
        assert service.client().get("job_1").job.progress.done == 1


def test_map_submits_one_batch_and_keeps_the_order():
    """All are accepted, or none."""
    batch = {
        "id": "batch_1", "object": "batch", "created_at": "2026-11-23T09:30:00Z", "done": False, "counts": {},
        "jobs": ["job_1", "job_2"],
    }  # fmt: skip
    two = [ok(job("succeeded", 4, "job_1")), ok(job("succeeded", 4, "job_2"))]
    service = Service(ok(batch, 202), *two, ok(RESULT), ok(RESULT | {"job_id": "job_2"}))
    results = service.client().map([SPEC, SPEC])
    assert [result.job_id for result in results] == ["job_1", "job_2"]
    assert len(json.loads(service.asked[0].content)["jobs"]) == 2


def test_listing_turns_the_pages():
    """``limit=None`` means all of them."""
    pages = [
        ok({"object": "list", "data": [job(job_id="job_2")], "has_more": True}),
        ok({"object": "list", "data": [job(job_id="job_1")], "has_more": False}),
    ]
    service = Service(*pages)
    assert [one.id for one in service.client().jobs(tag="a:b", limit=None)] == ["job_2", "job_1"]
    assert dict(service.asked[1].url.params) == {"limit": "100", "after": "job_2", "tag": "a:b"}


def stream(*events):
    text = "retry: 2000\n\n: still here\n\n" + "".join(
        f"id: {e['id']}\nevent: x\ndata: {json.dumps(e)}\n\n" for e in events
    )
    return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})


def event(number, **data):
    kind = "status" if "status" in data else "progress"
    return {"id": f"{number}-0", "object": "event", "type": kind, "created_at": "2026-11-23T09:30:00Z", "data": data}


def test_following_resumes_where_the_connection_broke():
    """No gap and no repeat, as the service's ``Last-Event-ID`` promises."""
    service = Service(
        stream(event(1, status="running")),
        ok(job("running")),
        stream(event(2, done=1, total=1), event(3, status="succeeded")),
    )
    assert [one.id for one in service.client().follow("job_1")] == ["1-0", "2-0", "3-0"]
    assert service.asked[2].headers["last-event-id"] == "1-0"


def test_following_outlasts_a_service_that_comes_back_but_not_a_proxy_without_streams():
    """Between two streams the job is asked for; a stream that is never given is told instead of asked for ever."""
    away = [httpx.Response(502, text="bad gateway"), ok(job("running"))]
    back = stream(event(1, status="succeeded"))
    assert len(list(Service(*away, *away, back).client().follow("job_1"))) == 1
    with pytest.raises(ServiceError, match="bad gateway"):
        next(Service(*away * 6).client().follow("job_1"))


def test_following_a_job_that_is_not_there_says_so():
    """A stream's refusal is an error as any other."""
    service = Service(httpx.Response(404, json=PROBLEM | {"status": 404, "code": "unknown_job"}))
    with pytest.raises(ServiceError, match="unknown_job"):
        next(service.client().follow("job_9"))


def test_cancel_delete_validate_and_the_rest_ask_their_routes():
    """One line per route, so that a renamed one shows."""
    report = {
        "object": "validation", "spec": SPEC, "examples": [], "cells": 1, "axes": ["example"], "shape": [4],
        "shards": 1, "estimated_seconds": 0.1, "estimated_result_bytes": 10, "warnings": [], "unreachable_senders": [],
    }  # fmt: skip
    empty = {"object": "list", "data": [], "has_more": False}
    me = {
        "id": "key_1",
        "name": "ana",
        "scopes": ["read"],
        "limits": {},
        "use": {"queued_jobs": 0, "running_shards": 0, "compute_s_today": 0.0},
    }
    service = Service(
        ok(job("cancelled")), httpx.Response(204), ok(report), ok(empty), ok(empty), ok(me), ok(empty),
        httpx.Response(200, text="<svg/>"),
    )  # fmt: skip
    client = service.client()
    assert client.cancel("job_1").status == "cancelled"
    client.delete("job_1")
    assert client.validate(SPEC).cells == 1
    assert (client.models(), client.workers(), client.me().name, client.events("job_1")) == ([], [], "ana", [])
    assert client.figure("job_1", "svg", kind="scatter") == b"<svg/>"
    assert [f"{request.method} {request.url.path}" for request in service.asked] == [
        "POST /v1/jobs/job_1/cancel", "DELETE /v1/jobs/job_1", "POST /v1/jobs:validate", "GET /v1/models",
        "GET /v1/workers", "GET /v1/me", "GET /v1/jobs/job_1/events", "GET /v1/jobs/job_1/figure",
    ]  # fmt: skip


def test_the_async_client_runs_the_same_flows(monkeypatch):
    """Whatever holds for one client holds for the other."""
    pauses = []

    async def pause(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    service = Service(
        httpx.ConnectError("refused"), ok(job(), 202), ok(job("succeeded", 4)), ok(RESULT),
        ok(job("succeeded", 4)), stream(event(1, status="succeeded")),
    )  # fmt: skip

    async def use():
        async with pp.AsyncClient("http://service", transport=httpx.MockTransport(service)) as client:
            result = await client.run(SPEC)
            handle = await client.get("job_1")
            return result, [one async for one in handle.follow()]

    result, events = asyncio.run(use())
    assert result.patched.tolist() == [0.1, 0.2] and len(events) == 1 and len(pauses) == 1


def test_both_clients_have_the_same_methods():
    """A route added to one is added to the other."""
    sync = {name for name in dir(pp.Client) if not name.startswith("_")}
    assert sync == {name for name in dir(pp.AsyncClient) if not name.startswith("_")}


def test_local_stays_callable_after_its_module_was_imported():
    """``pathpatch.local`` is a function and a module; importing the latter must not hide the former."""
    import importlib

    importlib.import_module("pathpatch.local")
    assert callable(pp.local)


def test_importing_pathpatch_imports_nothing_heavy():
    """``import pathpatch`` in a script that only builds a spec must not cost plotly, httpx or pandas."""
    import subprocess
    import sys

    code = "import pathpatch, sys; print([m for m in ('numpy', 'httpx', 'plotly', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_address_without_a_scheme_is_taken_as_http():
    """People type host and port."""
    assert pp.Client("127.0.0.1:8123").url == "http://127.0.0.1:8123"


def test_an_unknown_figure_format_is_answered_with_the_known_ones():
    """Before anything is sent."""
    with pytest.raises(ValueError, match="'gif': it is one of json, html, svg, png, pdf"):
        pp.Client().figure("job_1", "gif")


@pytest.mark.parametrize("url", ["http://[half", "http://host:port"])
def test_what_is_no_address_is_said_to_be_none(url):
    """Every error of the client is ours, a mistyped address included."""
    with pytest.raises(Unreachable, match="that is no address"):
        pp.Client(url)


@pytest.mark.parametrize("status", [200, 404])
def test_a_page_of_some_other_server_is_no_service(status):
    """Something else may listen on port 8000: its page is neither an answer nor printed."""
    page = httpx.Response(status, html="<html>welcome to another program</html>")
    with pytest.raises(Unreachable, match="no pathpatch service") as caught:
        Service(page).client().get("job_1")
    assert "another program" not in str(caught.value)
