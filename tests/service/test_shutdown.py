"""A service that is told to end answers first: a rolling restart is nobody's error."""

import asyncio
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from service.app import end_all
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import live_service, spec

pytestmark = pytest.mark.integration


@pytest.mark.usefixtures("store")  # an earlier result would answer at once
def test_whoever_waits_is_answered_with_the_job_as_it_is(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Long polls as before a normal end, event streams with a clean end; clients then come back elsewhere."""
    log = tmp_path / "service.log"
    with live_service(valkey, log) as service, ThreadPoolExecutor() as pool:
        job = service.client.post("/v1/jobs", json=spec()).json()
        path, wait = job["links"]["self"], {"Prefer": "wait=50"}

        def request(method: str, path: str, **options: object) -> httpx.Response:
            return httpx.request(method, f"{service.url}{path}", timeout=60, **options)  # type: ignore[arg-type]

        submitted = pool.submit(request, "POST", "/v1/jobs", json=spec(1), headers=wait)
        polled = pool.submit(request, "GET", path, headers=wait)
        followed = pool.submit(request, "GET", f"{path}/events", headers={"Accept": "text/event-stream"})
        time.sleep(1.0)
        assert not (submitted.done() or polled.done() or followed.done())
        os.kill(service.pid, signal.SIGTERM)
        began = time.monotonic()
        assert (submitted.result().status_code, submitted.result().json()["status"]) == (202, "queued")
        assert (polled.result().status_code, polled.result().json()["status"]) == (200, "queued")
        assert "retry-after" in polled.result().headers
        assert '"queued"' in followed.result().text
        assert time.monotonic() - began < 3
    assert "raceback" not in log.read_text() and "exceeded" not in log.read_text()


def test_what_outlasts_the_grace_is_told_to_come_again(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Here a body that is never sent whole: a problem as any other, not a bare 500."""
    log = tmp_path / "service.log"
    with live_service(valkey, log) as service:
        address = httpx.URL(service.url)
        with socket.create_connection((address.host, address.port), timeout=20) as connection:
            head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99"
            connection.sendall(f"{head}\r\n\r\n{{".encode())
            time.sleep(0.3)
            os.kill(service.pid, signal.SIGTERM)
            answer = connection.makefile().read().lower()
        assert answer.startswith("http/1.1 503") and "retry-after: " in answer
        assert '"code":"service_ending"' in answer and '"retryable":true' in answer
    assert "raceback" not in log.read_text()


def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    """As libraries let happen now and then; the process would stay for ever."""

    async def loses_one() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def scenario() -> None:
        task = asyncio.create_task(loses_one())
        await asyncio.sleep(0)
        await asyncio.wait_for(end_all([task]), 10)
        assert task.cancelled()

    asyncio.run(scenario())
