"""Two API keys of one service: what one does must not be felt by the other."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.live_service import LiveService, spec

ADMIN = "admin-secret-of-the-operator-0123456789"
PAUSE_S = 0.05
_seeds = itertools.count(1_000_000)


class Key:
    """A key of the service, as headers and as a client."""

    def __init__(self, service: LiveService, document: dict[str, Any]) -> None:
        self.id: str = document["id"]
        self.secret: str = document["secret"]
        self.headers = {"Authorization": f"Bearer {self.secret}"}
        self._url = service.url
        self._port = service.port

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client of its own, for a thread."""
        with httpx.Client(base_url=self._url, headers=self.headers, timeout=30.0) as client:
            yield client

    def head(self, path: str, *headers: str) -> bytes:
        """A request without a body, as it goes over a connection of one's own."""
        lines = (f"GET {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.secret}", *headers)
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def connect(self) -> socket.socket:
        """A connection of one's own."""
        return socket.create_connection(("127.0.0.1", self._port), timeout=10)

    def unfinished_body(self, size: int) -> socket.socket:
        """A connection that has sent so many bytes of a body, and never sends the last one."""
        connection = self.connect()
        head = self.head("/v1/jobs", "Content-Type: application/json", f"Content-Length: {size + 1}")
        connection.sendall(head.replace(b"GET", b"POST", 1))
        with contextlib.suppress(ConnectionError):  # refused before it has sent all
            connection.sendall(b" " * size)
        return connection


def new_key(service: LiveService, name: str, **wanted: Any) -> Key:
    """Make a key."""
    answer = service.client.post(
        "/v1/keys", json={"name": name, **wanted}, headers={"Authorization": f"Bearer {ADMIN}"}
    )
    assert answer.status_code == 201, answer.text
    return Key(service, answer.json())


class Bystander:
    """Submits a job and looks at it, again and again, in the block."""

    def __init__(self, service: LiveService, key: Key) -> None:
        self.key = key
        self.statuses: list[int] = []
        self.submit_s: list[float] = []
        self.poll_s: list[float] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        with self.key.client() as client:
            while not self._ending.is_set():
                started = time.perf_counter()
                made = client.post("/v1/jobs", json=spec(next(_seeds)))
                submitted = time.perf_counter()
                seen = client.get(made.headers.get("location", "/v1/jobs"))
                self.submit_s.append(submitted - started)
                self.poll_s.append(time.perf_counter() - submitted)
                ready = client.get("/readyz")
                self.statuses += [made.status_code, seen.status_code, ready.status_code]
                self._ending.wait(PAUSE_S)

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ending.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.statuses and set(self.statuses) <= {200, 202}, self.statuses
