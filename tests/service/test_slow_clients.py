"""Clients that send or read slowly, by accident or malice, are cut off and delay nobody else."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import HandMade, LiveService, WorkerHand, live_service, spec
from tests.live_worker import until

pytestmark = pytest.mark.integration

LIMIT_S = 1.0
HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def strict_service(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service that waits for nobody longer than a second."""
    limits = {"head_timeout_s": str(LIMIT_S), "body_timeout_s": str(LIMIT_S), "stall_timeout_s": str(LIMIT_S)}
    with live_service(valkey, tmp_path_factory.mktemp("slow") / "service.log", **limits) as service:
        yield service


@pytest.fixture
def strict(strict_service: LiveService, store: JobStore) -> LiveService:
    """It, over an empty store."""
    return strict_service


def _connect(service: LiveService) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=10 * LIMIT_S)


def _trickled(connection: socket.socket, begin: bytes, drop: bytes) -> bytes:
    """What comes back to a client that sends a few more bytes every now and then, until the connection is closed."""
    received = b""
    connection.settimeout(0.1)
    connection.sendall(begin)
    deadline = time.monotonic() + 10 * LIMIT_S
    while time.monotonic() < deadline:
        try:
            content = connection.recv(65536)
        except TimeoutError:
            pass
        except ConnectionResetError:  # what we sent after the answer met a closed connection
            return received
        else:
            if not content:
                return received
            received += content
        with contextlib.suppress(OSError):
            connection.sendall(drop)
    raise AssertionError(f"still open after {10 * LIMIT_S:g} s: {received!r}")


def _problem(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head[9:12]), json.loads(body)["code"]


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (HEAD, b"X-Slow: 1\r\n"),
        (b"GET /", b"x"),
        (HEAD + b"Content-Length: 100000\r\n\r\n{", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
    ids=["headers", "request line", "body", "chunked body"],
)
def test_a_request_that_trickles_in_is_answered_408_and_closed(strict: LiveService, begin: bytes, drop: bytes) -> None:
    """Each byte comes in time; it is the whole that takes too long."""
    started = time.monotonic()
    with _connect(strict) as connection:
        assert _problem(_trickled(connection, begin, drop)) == (408, "request_timeout")
    assert LIMIT_S * 0.9 < time.monotonic() - started < LIMIT_S * 3


@pytest.mark.parametrize("said", [b"", b"\r\n"], ids=["nothing", "empty lines"])
def test_a_connection_without_a_request_is_closed(strict: LiveService, said: bytes) -> None:
    """A port scanner, or a browser that connected ahead; there is nothing to answer."""
    with _connect(strict) as connection:
        assert _trickled(connection, said, said) == b""


def test_a_second_request_on_a_connection_has_the_same_deadline(strict: LiveService) -> None:
    """A first good request buys no patience."""
    with _connect(strict) as connection:
        answers = _trickled(connection, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /l", b"i")
    first, second = answers.split(b"HTTP/1.1 408 ")
    assert first.startswith(b"HTTP/1.1 200 ") and b"request_timeout" in second


def test_the_rest_of_a_body_that_was_refused_is_not_waited_for(strict: LiveService) -> None:
    """The answer is there at once; the connection goes soon after."""
    with _connect(strict) as connection:
        answer = _trickled(connection, HEAD + b"Content-Length: 100000000\r\n\r\n", b" ")
    assert _problem(answer) == (413, "body_too_large")


def test_endless_headers_are_refused(strict: LiveService) -> None:
    """Within the deadline a fast client could otherwise fill the memory."""
    with _connect(strict) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(HEAD)
        for _ in range(4000):
            connection.sendall(b"X-Long: " + b"x" * 1000 + b"\r\n")
            time.sleep(0.0001)
        raise AssertionError("4 MB of headers were taken")


def test_what_is_no_http_is_refused_with_a_problem(strict: LiveService) -> None:
    """Such as TLS on the plain port."""
    with _connect(strict) as connection:
        assert _problem(_trickled(connection, b"\x16\x03\x01 hello\r\n\r\n", b"")) == (400, "malformed_request")


def test_a_client_that_does_not_read_its_answer_is_cut_off(strict: LiveService, store: JobStore) -> None:
    """What the kernel does not take waits in the service's memory until it is taken."""
    made = HandMade()
    made.head["blocks"][0] |= {"shape": [500_000], "coordinates": {"example": list(range(500_000))}}
    made.arrays = {name: np.random.default_rng(0).random(500_000, dtype=np.float32) for name in made.arrays}
    path = strict.client.post("/v1/jobs", json=spec()).json()["links"]["result"]
    WorkerHand(store).work_off(made)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", strict.port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(1) == b"H"
        own_port = connection.getsockname()[1]
        assert _holds(strict, own_port)
        until(lambda: not _holds(strict, own_port), 3 * LIMIT_S)


def _holds(service: LiveService, client_port: int) -> bool:
    """Whether the service has a connection to this port."""
    held = psutil.Process(service.pid).net_connections("tcp")
    return any(connection.raddr and connection.raddr.port == client_port for connection in held)


def test_two_hundred_slow_clients_delay_nobody_and_are_all_closed(strict: LiveService, store: JobStore) -> None:
    """The attack that is named after a loris."""
    slow = [_connect(strict) for _ in range(200)]
    for connection in slow:
        connection.sendall(HEAD)
    seconds = []
    for seed in range(50):
        started = time.perf_counter()
        assert strict.client.post("/v1/jobs", json=spec(seed)).status_code == 202
        seconds.append(time.perf_counter() - started)
        for connection in slow[seed::50]:
            with contextlib.suppress(OSError):
                connection.sendall(b"X-Slow: 1\r\n")
    assert sorted(seconds)[25] < 0.1
    for connection in slow:
        connection.settimeout(3 * LIMIT_S)
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ") and connection.recv(1) == b""
        connection.close()


def test_whoever_waits_for_a_job_is_not_slow(strict: LiveService, store: JobStore) -> None:
    """Long polling and quiet streams outlast every deadline."""
    job = strict.client.post("/v1/jobs", json=spec()).json()
    waited = strict.client.get(job["links"]["self"], headers={"Prefer": "wait=3"})
    assert not waited.json()["done"]
    with strict.client.stream("GET", job["links"]["events"], headers={"Accept": "text/event-stream"}) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry")
        time.sleep(2 * LIMIT_S)
        WorkerHand(store).work_off()
        assert any('"succeeded"' in line for line in lines)


def test_a_kept_connection_serves_many_requests(strict: LiveService) -> None:
    """Deadlines end with each request's head."""
    with httpx.Client(base_url=strict.url) as client:
        for _ in range(3):
            assert client.get("/livez").status_code == 200
            time.sleep(LIMIT_S * 0.6)
