"""Long queues, jobs of a thousand shards, and results at the limit: parts of ``benchmarks.scaling``."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil

from benchmarks.http_load import Connection, run, steady
from benchmarks.stack import MIB, Stack, percentiles, resident_mib, stack
from job_store.store import JobStore
from tests.live_service import spec
from tests.live_worker import demo_job, ended
from tests.stored_jobs import submit

CELLS = {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": "q"}}}
EVERY_EDGE = {
    "senders": {"sweep": {"hook": "z"}},
    "receivers": {"sweep": {"hook": ["q", "k", "v"]}},
    "direct_includes_mlps": True,
}
LOGIT_DIFF = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}


def long_queue(depths: tuple[int, ...] = (0, 1000, 10_000), rate: float = 50, duration_s: float = 6) -> dict[str, Any]:
    """Latency of submitting, polling, listing and claiming, with so many jobs queued; then a job of 1000 shards."""
    found: dict[str, Any] = {}
    seeds = iter(range(10**6))
    with stack() as processes:
        port = processes.service.port

        async def post(connection: Connection) -> bytes:
            status, body = await connection.request("POST", "/v1/jobs", json.dumps(spec(next(seeds))).encode())
            assert status == 202, body
            return body

        def steadily(path: str) -> dict[str, float]:
            async def get(connection: Connection) -> None:
                status, body = await connection.request("GET", path)
                assert status == 200, body

            return percentiles(run(steady(port, rate, duration_s, get)))

        async def one_post() -> dict[str, Any]:
            return dict(json.loads(await post(await Connection.open(port))))

        run(steady(port, rate, 1, post))  # warm-up
        for depth in depths:
            _fill(processes.store, depth)
            last = run(one_post())
            found[str(depth)] = {
                "submit": percentiles(run(steady(port, rate, duration_s, post))),
                "poll": steadily(last["links"]["self"]),
                "list": steadily("/v1/jobs?limit=20"),
            }
            print(depth, json.dumps(found[str(depth)]), flush=True)
        found["broker_mib"] = round(processes.store.client.info("memory")["used_memory"] / MIB, 1)
        found["service_mib"] = resident_mib(processes.service.pid)
        found["job_of_1000_shards"] = _many_shards(processes, steadily)
    return found


def _fill(store: JobStore, depth: int) -> None:
    """Queue jobs until there are so many."""
    while store.client.zcard("pp:waiting:demo") < depth:
        submit(store, *(demo_job(seed=seed) for seed in range(100)))


def _many_shards(processes: Stack, steadily: Callable[[str], dict[str, float]]) -> dict[str, Any]:
    """Every edge between heads on ten thousand prompts: cut into the most shards that a job may have."""
    document = spec(dataset={"kind": "ioi", "examples": 10_000, "seed": 0}, patch=EVERY_EDGE, metric=LOGIT_DIFF)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        answer = processes.service.client.post("/v1/jobs", json={**document, "use_cache": False})
        seconds.append(time.perf_counter() - began)
        assert answer.status_code == 202, answer.text
    job = answer.json()
    memory = processes.store.client.info("memory")["used_memory"]
    client = processes.store.client
    return {
        "shards": job["progress"]["total"],
        "submit_s": [round(value, 2) for value in seconds],
        "poll": steadily(job["links"]["self"]),
        "record_kib": round(sum(client.memory_usage(key) for key in client.keys(f"pp:job:{job['id']}*")) / 1024),
        "broker_mib": round(memory / MIB, 1),
    }


def large_result(examples: int = 1650) -> dict[str, Any]:
    """A result near the limit of 64 MB of JSON, per example and cell: computed, stored, fetched in every form."""
    with stack() as processes, processes.workers("a", THREADS="2") as (worker,):
        service = psutil.Process(processes.service.pid)
        document = spec(
            dataset={"kind": "ioi", "examples": examples, "seed": 0}, patch=CELLS, output={"per_example": True}
        )
        document["metric"] = {"kind": "attention", "query": "end", "key": "IO"}
        before = {"service": resident_mib(service.pid), "worker": resident_mib(worker.child_pid)}
        with _watched(service.pid) as service_peak, _watched(worker.child_pid) as worker_peak:
            answer = processes.service.client.post("/v1/jobs", json=document)
            assert answer.status_code == 202, answer.text
            record = ended(processes.store, answer.json()["id"], 900)
            assert record.status == "succeeded", record.error_detail
            forms = {
                form: _fetch(processes, record.id, form)
                for form in ("application/json", "application/x-npz", "text/csv")
            }
        memory = processes.store.client.info("memory")
        return {
            "numbers": 3 * 32 * 32 * examples,
            "stored_mib": round((record.result_bytes or 0) / MIB, 1),
            "run_s": round((record.finished_ms - record.started_ms) / 1000, 1),
            "fetched": forms,
            "resident_mib_before": before,
            "resident_mib_peak": {"service": round(service_peak[0] / MIB), "worker": round(worker_peak[0] / MIB)},
            "broker_mib_peak": round(memory["used_memory_peak"] / MIB),
        }


def _fetch(processes: Stack, job_id: str, form: str) -> dict[str, Any]:
    """Seconds and bytes of fetching a result uncompressed, and the slowest poll meanwhile."""
    slowest, stop = [0.0], threading.Event()

    def poll() -> None:
        with httpx.Client(base_url=processes.service.url, timeout=60) as client:
            while not stop.is_set():
                began = time.perf_counter()
                client.get(f"/v1/jobs/{job_id}").raise_for_status()
                slowest[0] = max(slowest[0], time.perf_counter() - began)
                time.sleep(0.02)

    poller = threading.Thread(target=poll)
    poller.start()
    began, size = time.perf_counter(), 0
    url = f"{processes.service.url}/v1/jobs/{job_id}/result"
    with httpx.stream("GET", url, headers={"Accept": form, "Accept-Encoding": "identity"}, timeout=300) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw():
            size += len(chunk)
    seconds = time.perf_counter() - began
    stop.set()
    poller.join()
    return {"seconds": round(seconds, 2), "mib": round(size / MIB, 1), "slowest_poll_s": round(slowest[0], 3)}


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[list[int]]:
    """The largest resident memory of a process within the block, in bytes."""
    largest, stop, process = [0], threading.Event(), psutil.Process(pid)

    def watch() -> None:
        while not stop.wait(0.02):
            largest[0] = max(largest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield largest
    finally:
        stop.set()
        watcher.join()
