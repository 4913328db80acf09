"""The processes that draw."""

import signal
from contextlib import suppress

import httpx
import psutil

from tests.live_service import LiveService, WorkerHand, spec
from tests.live_worker import until


def ready(service: LiveService) -> list[psutil.Process]:
    """Processes that wait for an order."""
    found = []
    for child in psutil.Process(service.pid).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "--ready" in child.cmdline():
                found.append(child)
    return found


def test_one_process_is_kept_ready_and_is_replaced(
    service: LiveService, client: httpx.Client, worker: WorkerHand
) -> None:
    """To import what draws takes most of a figure's time; each process draws once, and one that was killed is missed by
    nobody."""
    job = client.post("/v1/jobs", json=spec()).json()
    worker.work_off()
    svg = {"Accept": "image/svg+xml"}

    (first,) = until(lambda: ready(service))
    assert client.get(job["links"]["figure"], headers=svg).text.startswith("<?xml")
    (second,) = until(lambda: [child for child in ready(service) if child.pid != first.pid])
    second.send_signal(signal.SIGKILL)
    second.wait(10)
    assert client.get(job["links"]["figure"], headers=svg).status_code == 200
    assert until(lambda: [child for child in ready(service) if child.pid != second.pid])
    assert len(ready(service)) == 1
