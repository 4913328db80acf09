"""The primary of a broker with Sentinel killed: service and worker go on with the new one; nothing accepted is lost."""

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx

from job_store import jobs
from job_store.store import JobStore
from tests.live_service import LiveService, spec
from tests.live_worker import arrays_of, ended, live_workers, until
from tests.sentinels import replicated_broker


def submitted(service: LiveService, name: str, seed: int) -> str | None:
    """The id of a job that was accepted under a name; None for one that was not."""
    document = spec(use_cache=False, dataset={"kind": "ioi", "examples": 4, "seed": seed})
    headers = {"Idempotency-Key": name}
    try:
        answer = httpx.post(f"{service.url}/v1/jobs", json=document, headers=headers, timeout=30, trust_env=False)
    except httpx.TransportError:
        return None
    assert answer.status_code in (202, 409, 503), answer.text
    return str(answer.json()["id"]) if answer.status_code == 202 else None


def test_no_accepted_job_is_lost_in_a_failover(tmp_path: Path) -> None:
    """A submit is answered once a replica has it; 503 meanwhile, and both go on by themselves."""
    with ExitStack() as resources:
        broker = resources.enter_context(replicated_broker(tmp_path / "broker"))
        service = LiveService(broker.url)
        resources.callback(service.stop)
        service.start(tmp_path / "service.log")
        resources.enter_context(live_workers(broker.url, tmp_path, "a", SHARD_DELAY_S="0.2"))
        store = JobStore.connect(broker.url)
        accepted: dict[str, int] = {}
        is_over = threading.Event()

        def submit_until_over() -> None:
            number = 0
            while not is_over.is_set():
                if (job_id := submitted(service, f"failover-{number}", number % 2)) is not None:
                    accepted[job_id] = number % 2
                    number += 1
                time.sleep(0.05)

        submitter = threading.Thread(target=submit_until_over)
        submitter.start()
        until(lambda: len(accepted) >= 5)
        before, began = len(accepted), time.monotonic()
        broker.kill()
        until(lambda: len(accepted) > before + 1, 60)
        back_s = time.monotonic() - began
        is_over.set()
        submitter.join()
        assert broker.killed is not broker.primary
        assert {ended(store, job_id, 120).status for job_id in accepted} == {"succeeded"}
        worker_s = time.monotonic() - began
        print(f"{len(accepted)} jobs; submits again after {back_s:.1f} s, all done after {worker_s:.1f} s")
        numbers = {
            seed: {arrays_of(store, job_id) for job_id, own in accepted.items() if own == seed} for seed in (0, 1)
        }
        assert [len(found) for found in numbers.values()] == [1, 1]
        assert all(store.run(jobs.get(job_id)).done for job_id in accepted)
