"""Webhooks against a real receiver: signed, retried, never redirected, never to a private address unless allowed."""

import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook

from job_store.store import JobStore
from service.webhooks.delivery import Refused, checked_url, is_public
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey, free_port
from tests.live_service import ROOT, LiveService, WorkerHand, live_service, spec

pytestmark = pytest.mark.integration

HTTP_PAGE = ROOT / "docs/http.md"
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOME = {"webhook_secret": SECRET, "webhook_allow_http": "1", "webhook_allow_private": "1"}
QUICK = {"webhook_first_retry_s": "0", "webhook_timeout_s": "0.5"}


class Receiver:
    """A local HTTP server that answers as told and remembers what it was sent."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.delay_s = 0.0
        self.location = ""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append((dict(self.headers), body))
                time.sleep(receiver.delay_s)
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that accepts everything."""
    found = Receiver()
    yield found
    found.close()


@pytest.fixture(scope="module")
def shared_home(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service of a lab that allows receivers in its own network."""
    with live_service(valkey, tmp_path_factory.mktemp("hooks") / "service.log", **HOME, **QUICK) as service:
        yield service


@pytest.fixture
def home(shared_home: LiveService, store: JobStore) -> httpx.Client:
    """Talks to it, over an empty store."""
    return shared_home.client


def _announced(client: httpx.Client, worker: WorkerHand, url: str) -> dict[str, Any]:
    """A finished job that announces its end there."""
    answer = client.post("/v1/jobs", json=spec(webhook={"url": url}))
    assert answer.status_code == 202, answer.text
    worker.work_off()
    document: dict[str, Any] = answer.json()
    return document


def _eventually(claim: Any, limit_s: float = 10.0) -> None:
    deadline = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _dead(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/webhooks/dead").json()["data"]
    return found


def test_the_end_of_a_job_is_announced_once_and_signed(
    home: httpx.Client, worker: WorkerHand, receiver: Receiver
) -> None:
    """The receiver verifies with the standard's own library."""
    job = _announced(home, worker, receiver.url)
    _eventually(lambda: receiver.received)
    time.sleep(0.7)
    assert len(receiver.received) == 1
    headers, body = receiver.received[0]
    message = Webhook(SECRET).verify(body, headers)
    assert message["type"] == "job.succeeded"
    assert message["data"]["id"] == job["id"] and "spec" not in message["data"]
    assert b"dataset" not in body
    schema = home.get("/openapi.json").json()
    posted = schema["webhooks"]["jobEnded"]["post"]
    content = posted["requestBody"]["content"]["application/json"]["schema"]
    Draft202012Validator({**content, "components": schema["components"]}).validate(message)
    assert set(message["data"]) == set(content["properties"]["data"]["properties"])
    assert {parameter["name"] for parameter in posted["parameters"]} <= {name.lower() for name in headers}


def test_the_documentation_verifies_what_is_sent(home: httpx.Client, worker: WorkerHand, receiver: Receiver) -> None:
    """With the library and by hand, and refuses a body that was changed."""
    code = re.findall(r"^```python\n(.*?)^```", HTTP_PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    named: dict[str, Any] = {}
    exec("\n".join(code), named)  # noqa: S102 - our own page
    _announced(home, worker, receiver.url)
    _eventually(lambda: receiver.received)
    headers, body = receiver.received[0]
    assert named["verified"](body, headers, SECRET)["type"] == "job.succeeded"
    assert named["is_genuine"](body, headers, SECRET)
    assert not named["is_genuine"](body + b" ", headers, SECRET)
    assert not named["is_genuine"](body, headers | {"webhook-timestamp": "1795426200"}, SECRET)


def test_a_receiver_that_fails_at_first_gets_the_same_message_again(
    home: httpx.Client, worker: WorkerHand, receiver: Receiver
) -> None:
    """One id over all attempts lets it drop duplicates."""
    receiver.answers = [500, 503]
    _announced(home, worker, receiver.url)
    _eventually(lambda: len(receiver.received) == 3)
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1
    assert not _dead(home)


def test_a_redirect_is_not_followed(home: httpx.Client, worker: WorkerHand, receiver: Receiver) -> None:
    """It could lead anywhere, the cloud's metadata service included."""
    target = Receiver()
    receiver.answers, receiver.location = [307] * 3, target.url
    _announced(home, worker, receiver.url)
    _eventually(lambda: len(receiver.received) >= 2)
    assert target.received == []
    target.close()


def test_a_receiver_that_wants_no_more_is_left_alone(
    home: httpx.Client, worker: WorkerHand, receiver: Receiver
) -> None:
    """410 is the standard's way to say so; it stays visible."""
    receiver.answers = [410]
    job = _announced(home, worker, receiver.url)
    _eventually(lambda: _dead(home))
    dead = _dead(home)[0]
    assert (dead["job_id"], dead["attempts"]) == (job["id"], 1)
    assert "410" in dead["error"]


def test_a_dead_receiver_ends_on_the_list_of_the_dead(home: httpx.Client, worker: WorkerHand) -> None:
    """After all attempts the operator can see what was lost, and why."""
    _announced(home, worker, f"http://127.0.0.1:{free_port()}/nobody")
    _eventually(lambda: _dead(home), 20)
    assert _dead(home)[0]["attempts"] == 8


def test_a_slow_receiver_delays_neither_jobs_nor_other_receivers(
    home: httpx.Client, worker: WorkerHand, receiver: Receiver
) -> None:
    """It is cut off, and everything else goes on meanwhile."""
    slow = Receiver()
    slow.delay_s = 3.0
    for seed in range(3):
        home.post("/v1/jobs", json=spec(seed, webhook={"url": slow.url}))
    worker.work_off()
    _eventually(lambda: slow.received)
    started = time.monotonic()
    home.post("/v1/jobs", json=spec(9, webhook={"url": receiver.url}))
    worker.work_off()
    _eventually(lambda: receiver.received, 3)
    assert time.monotonic() - started < 2
    slow.close()


def test_the_announcement_of_an_erased_job_is_given_up(home: httpx.Client, worker: WorkerHand) -> None:
    """Nothing is left to say, and trying for ever would be noise."""
    job = _announced(home, worker, f"http://127.0.0.1:{free_port()}/nobody")
    assert home.delete(job["links"]["self"]).status_code == 204
    _eventually(lambda: _dead(home))
    dead = _dead(home)[0]
    assert dead["job_id"] == job["id"] and "erased before" in dead["error"]


def test_a_store_in_disorder_does_not_end_deliveries_for_good(
    home: httpx.Client, worker: WorkerHand, receiver: Receiver, store: JobStore
) -> None:
    """A full disk for a minute must not silence every job to come."""
    store.client.set("pp:hooks", "not a sorted set")
    time.sleep(0.7)
    store.client.delete("pp:hooks")
    _announced(home, worker, receiver.url)
    _eventually(lambda: receiver.received)


SLOW_NAMES = """
import socket, time
resolve = socket.getaddrinfo
def slow(host, *arguments, **options):
    if host == "slow.example":
        time.sleep(4)
    return resolve(host, *arguments, **options)
socket.getaddrinfo = slow
"""


def test_a_name_server_that_does_not_answer_delays_no_request(
    valkey: EmbeddedValkey, store: JobStore, worker: WorkerHand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking names up takes threads, which large bodies and results need as well."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_NAMES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with live_service(valkey, tmp_path / "service.log", **HOME, **QUICK) as service:
        for seed in range(16):
            service.client.post("/v1/jobs", json=spec(seed, webhook={"url": "http://slow.example/"}))
        worker.work_off()
        _eventually(lambda: store.client.hget("pp:hook:" + store.client.zrange("pp:hooks", 0, 0)[0].decode(), "error"))
        started = time.monotonic()
        large = spec(tags={f"{number}": "x" * 256 for number in range(32)}, metric={"kind": "x" * 16_384})
        assert service.client.post("/v1/jobs:validate", json=large).status_code == 422
        assert time.monotonic() - started < 3, "the name server takes four seconds"


TREACHEROUS_NAMES = """
import socket
resolve, asked = socket.getaddrinfo, []
def treacherous(host, *arguments, **options):
    answers = {"rebind.example": ["192.88.99.1"] if host not in asked else ["127.0.0.1"],
               "mixed.example": ["192.88.99.1", "127.0.0.1"]}.get(host, [host])
    asked.append(host)
    return [entry for answer in answers for entry in resolve(answer, *arguments, **options)]
socket.getaddrinfo = treacherous
"""
DISGUISES = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "mixed.example")


def test_a_private_address_is_refused_after_resolution(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a name, even one that means another host a moment later: what counts is where the connection would go."""
    (tmp_path / "sitecustomize.py").write_text(TREACHEROUS_NAMES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    port = receiver.url.split(":")[2].split("/")[0]
    patient = {**QUICK, "webhook_timeout_s": "10"}
    settings = {"webhook_secret": SECRET, "webhook_allow_http": "1", **patient}
    with (
        embedded_valkey(tmp_path / "valkey") as valkey,
        live_service(valkey, tmp_path / "service.log", **settings) as service,
    ):
        for seed, host in enumerate((*DISGUISES, "rebind.example")):
            service.client.post("/v1/jobs", json=spec(seed, webhook={"url": f"http://{host}:{port}/hook"}))
        WorkerHand(JobStore.connect(valkey.url)).work_off()
        _eventually(lambda: len(_dead(service.client)) == len(DISGUISES) + 1)
        assert receiver.received == []
        errors = [dead["error"] for dead in _dead(service.client)]
        assert [error for error in errors if "not on the open internet" not in error] == []


def test_every_end_is_announced_but_not_that_of_an_erased_job(
    home: httpx.Client, worker: WorkerHand, receiver: Receiver
) -> None:
    """Cancelled, past its deadline, failed, or answered from an earlier result: somebody waits for each."""
    hook = {"webhook": {"url": receiver.url}}
    cancelled, erased = (home.post("/v1/jobs", json=spec(seed, **hook)).json()["links"] for seed in (1, 2))
    home.post(cancelled["cancel"])
    home.delete(erased["self"])
    home.post("/v1/jobs", json=spec(3, **hook, expires_after_s=0.01))
    _eventually(lambda: len(receiver.received) == 2)
    home.post("/v1/jobs", json=spec(4, **hook))
    worker.fail(worker.take())
    home.post("/v1/jobs", json=spec(5))
    worker.work_off()
    home.post("/v1/jobs", json=spec(5, **hook))
    _eventually(lambda: len(receiver.received) == 4)
    told = [Webhook(SECRET).verify(body, headers)["type"] for headers, body in receiver.received]
    assert sorted(told) == ["job.cancelled", "job.expired", "job.failed", "job.succeeded"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "https://",
        "https://u:p@example.org/",
        "x",
        "https://.../",
        "https://a..b/",
        f"https://{'a' * 64}.org/",
        "https://127。0。0。1/",
        "https://example.org/a b",
        "https://example.org/\r\nHost: 127.0.0.1",
    ],
)
def test_a_url_that_may_never_be_called_is_refused_at_submission(url: str) -> None:
    """Https only by default, no secrets in URLs."""
    with pytest.raises(Refused):
        checked_url(url, allow_http=False)


def test_without_a_secret_a_spec_with_a_webhook_is_refused(client: httpx.Client) -> None:
    """Silently announcing nothing would be worse."""
    answer = client.post("/v1/jobs", json=spec(webhook={"url": "https://example.org/hook"}))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/webhook"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("::ffff:0:10.0.0.1", False),
        ("::10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
    ],
)
def test_only_addresses_of_the_open_internet_count_as_public(address: str, public: bool) -> None:
    """Private, link-local and translated forms of them are all ways into the operator's network."""
    assert is_public(address) is public
