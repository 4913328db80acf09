"""A receiver that is slow delays the webhooks of its own key only."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, live_service, spec
from tests.live_worker import until
from tests.two_keys import ADMIN, Key, new_key

SETTINGS = {
    "webhook_secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "webhook_allow_http": "1",
    "webhook_allow_private": "1",
    "webhook_timeout_s": "3",
}


class Receiver:
    """Answers after a while, and counts what is open at the same time."""

    def __init__(self, delay_s: float) -> None:
        self.received = self.open = self.most_open = 0
        lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                with lock:
                    receiver.received += 1
                    receiver.open += 1
                    receiver.most_open = max(receiver.most_open, receiver.open)
                time.sleep(delay_s)
                with lock:
                    receiver.open -= 1
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """The service has given up, as it should."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def announcing(valkey: EmbeddedValkey, store: JobStore, hostile_log: Any) -> Iterator[LiveService]:
    """A service that sends webhooks."""
    with live_service(valkey, hostile_log, admin_key=ADMIN, **SETTINGS) as service:
        yield service


def _announce(key: Key, url: str, seeds: range) -> None:
    with key.client() as client:
        jobs = [spec(seed, webhook={"url": url}) for seed in seeds]
        assert client.post("/v1/batches", json={"jobs": jobs}).status_code == 202


def test_a_slow_receiver_of_one_key_delays_no_webhook_of_another(
    announcing: LiveService, worker: WorkerHand, store: JobStore
) -> None:
    """Two hundred announcements to a receiver that never answers in time; the other key's arrives at once."""
    slow, quick = Receiver(delay_s=5.0), Receiver(delay_s=0.0)
    attacker, bystander = new_key(announcing, "attacker"), new_key(announcing, "bystander")
    _announce(attacker, slow.url, range(200))
    worker.work_off()
    until(lambda: slow.open > 4)
    started = time.monotonic()
    _announce(bystander, quick.url.replace("127.0.0.1", "localhost"), range(500, 501))
    worker.work_off()
    assert until(lambda: quick.received == 1, 10)
    assert time.monotonic() - started < 5
    assert slow.most_open <= 16
    quick.close()
    slow.close()


def test_one_host_is_called_eight_times_at_once_whoever_asks(
    announcing: LiveService, worker: WorkerHand, store: JobStore
) -> None:
    """And what has to wait for it does not count as an attempt."""
    receiver = Receiver(delay_s=0.5)
    for name, seeds in (("first", range(15)), ("second", range(100, 115))):
        _announce(new_key(announcing, name), receiver.url, seeds)
    worker.work_off()
    assert until(lambda: receiver.received == 30, 20)
    assert receiver.most_open <= 8
    assert until(lambda: store.client.zcard("pp:hooks") == 0, 10)
    receiver.close()
