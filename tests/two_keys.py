"""Two API keys of one service: what one does must not be felt by the other."""

import itertools
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

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client of its own, for a thread."""
        with httpx.Client(base_url=self._url, headers=self.headers, timeout=30.0) as client:
            yield client


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
        self.seconds: list[float] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        with self.key.client() as client:
            while not self._ending.is_set():
                started = time.perf_counter()
                made = client.post("/v1/jobs", json=spec(next(_seeds)))
                seen = client.get(made.headers.get("location", "/v1/jobs"))
                ready = client.get("/readyz")
                self.seconds.append(time.perf_counter() - started)
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
