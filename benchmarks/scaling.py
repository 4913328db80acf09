"""How the service grows: one job on more workers, long queues, jobs of many shards, large results, a lost worker.

Starts its own broker, service and workers. Two real workers share this machine's cores; more are real worker processes
whose devices only sleep (``PATHPATCH_SIMULATED_DEVICE_FLOPS``), so that everything but the arithmetic is real.
Run: ``python -m benchmarks.scaling [--json FILE] [--only PART ...]``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from benchmarks.service import Connection, _figures, steady
from benchmarks.store_cost import store_cost
from job_store.records import NewJob
from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import LiveService, live_service, spec
from tests.live_worker import LiveWorker, demo_job, ended, live_workers, until
from tests.stored_jobs import submit

DEVICES_PER_WORKER = 8
SHARD_S = 1.5
"""What a simulated device takes for a shard; a real one is given shards of about three seconds."""
SHARDS_PER_DEVICE = 12
FLOPS_PER_SHARD = 1e6
"""As ``demo_job`` states them."""
MIB = 2**20
CELLS = {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": "q"}}}
EVERY_EDGE = {
    "senders": {"sweep": {"hook": "z"}},
    "receivers": {"sweep": {"hook": ["q", "k", "v"]}},
    "direct_includes_mlps": True,
}
LOGIT_DIFF = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
DEFAULTS = {"LEASE_S": "10", "HEARTBEAT_S": "3"}


class Stack:
    """A broker and a service; workers come and go."""

    def __init__(self, folder: Path, valkey: EmbeddedValkey, service: LiveService) -> None:
        self.folder = folder
        self.valkey = valkey
        self.service = service
        self.store = JobStore.connect(valkey.url)

    def workers(self, *names: str, **settings: str) -> "contextlib.AbstractContextManager[list[LiveWorker]]":
        """Workers of the demo model, ready in the block."""
        return live_workers(self.valkey.url, self.folder, *names, **settings)

    def seconds_of(self, job: NewJob) -> float:
        """From submitting a job to its end."""
        began = time.perf_counter()
        submit(self.store, job)
        record = ended(self.store, job.id, 600)
        assert record.status == "succeeded", record.error_detail
        return time.perf_counter() - began


@contextlib.contextmanager
def stack(**environment: str) -> Iterator[Stack]:
    """Fresh processes for one part."""
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_valkey(Path(name) / "valkey") as valkey,
        live_service(valkey, Path(name) / "service.log", reaper_interval_s="2", **environment) as service,
    ):
        yield Stack(Path(name), valkey, service)


# One job on more workers


def heavy_job(shards: int, examples_per_shard: int = 24) -> NewJob:
    """A sweep through MLPs whose shards take a CPU core about two seconds."""
    job = demo_job(shards)
    dataset = ResolvedDataset(
        orig=[[1 + i % 200] * 60 for i in range(shards * examples_per_shard)],
        new=[[2 + i % 200] * 60 for i in range(shards * examples_per_shard)],
        roles={},
        answers={},
    )
    patch = {
        "senders": {"sweep": {"hook": "z"}},
        "receivers": [{"hook": "resid_post", "layer": 3}],
        "direct_includes_mlps": True,
    }
    content = job.spec.model_dump(mode="json", exclude_none=True) | {"patch": patch}
    pieces = [dataset.slice(i * examples_per_shard, (i + 1) * examples_per_shard) for i in range(shards)]
    facts = replace(job.facts, longest=60, examples=len(dataset))
    return replace(job, spec=JobSpec.model_validate(content), facts=facts, shards=tuple(pieces))


def on_real_cores(shards: int = 12) -> dict[str, Any]:
    """One large job on one and on two workers of one thread each.

    Beside the seconds, the processor time that the workers used: on a machine that does other things too, equal
    processor time says that a second worker costs nothing more.
    """
    found: dict[str, Any] = {"shards": shards}
    with stack() as processes:
        for names in (("a",), ("a", "b")):
            with processes.workers(*names, THREADS="1") as workers:
                processes.seconds_of(demo_job(2 * len(names)))
                rounds = [_round(processes, workers, heavy_job(shards)) for _ in range(3)]
            found[f"{len(names)}_workers"] = min(rounds, key=lambda round_: round_["seconds"])
    one, two = found["1_workers"], found["2_workers"]
    found["efficiency"] = round(one["seconds"] / two["seconds"] / 2, 3)
    found["efficiency_in_processor_time"] = round(one["processor_s"] / two["processor_s"], 3)
    return found


def _round(processes: Stack, workers: list[LiveWorker], job: NewJob) -> dict[str, float]:
    children = [psutil.Process(worker.child_pid) for worker in workers]
    before = sum(sum(child.cpu_times()[:2]) for child in children)
    seconds = processes.seconds_of(job)
    used = sum(sum(child.cpu_times()[:2]) for child in children) - before
    return {"seconds": round(seconds, 2), "processor_s": round(used, 2)}


def on_simulated_devices(counts: tuple[int, ...] = (1, 4, 8, 16, 32)) -> list[dict[str, Any]]:
    """One job on so many real worker children whose devices sleep; efficiency is against shards that cost only that."""
    rows = []
    with stack() as processes:
        for count in counts:
            settings = {"THREADS": "1", "SIMULATED_DEVICE_FLOPS": str(FLOPS_PER_SHARD / SHARD_S)}
            per_worker = min(count, DEVICES_PER_WORKER)
            names = [f"n{count}-{i}" for i in range(count // per_worker)]
            with processes.workers(*names, DEVICE=",".join(["cpu"] * per_worker), **settings):
                processes.seconds_of(demo_job(count))  # every child has done its first shard
                shards = SHARDS_PER_DEVICE * count
                before = _cpu_seconds(processes)
                seconds = processes.seconds_of(demo_job(shards))
                used = {name: value - before[name] for name, value in _cpu_seconds(processes).items()}
            rows.append(
                {
                    "devices": count,
                    "shards": shards,
                    "seconds": round(seconds, 2),
                    "shards_per_s": round(shards / seconds, 2),
                    "efficiency": round(shards * SHARD_S / count / seconds, 3),
                    **{f"{name}_cpu_share": round(value / seconds, 3) for name, value in used.items()},
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def _cpu_seconds(processes: Stack) -> dict[str, float]:
    times = {"broker": processes.valkey.pid, "service": processes.service.pid}
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in times.items()}


# Long queues, and jobs of many shards


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

            return _figures(asyncio.run(steady(port, rate, duration_s, get)))

        async def one_post() -> dict[str, Any]:
            return dict(json.loads(await post(await Connection.open(port))))

        asyncio.run(steady(port, rate, 1, post))  # warm-up
        for depth in depths:
            _fill(processes.store, depth)
            last = asyncio.run(one_post())
            found[str(depth)] = {
                "submit": _figures(asyncio.run(steady(port, rate, duration_s, post))),
                "poll": steadily(last["links"]["self"]),
                "list": steadily("/v1/jobs?limit=20"),
            }
            print(depth, json.dumps(found[str(depth)]), flush=True)
        found["broker_mib"] = round(processes.store.client.info("memory")["used_memory"] / MIB, 1)
        found["service_mib"] = _resident_mib(processes.service.pid)
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


# Large results


def large_result(examples: int = 5000) -> dict[str, Any]:
    """A result near the limit of 64 MB of JSON, per example and cell: computed, stored, fetched in every form."""
    with stack() as processes, processes.workers("a", THREADS="2") as (worker,):
        service = psutil.Process(processes.service.pid)
        document = spec(
            dataset={"kind": "ioi", "examples": examples, "seed": 0}, patch=CELLS, output={"per_example": True}
        )
        document["metric"] = {"kind": "attention", "query": "end", "key": "IO"}
        before = {"service": _resident_mib(service.pid), "worker": _resident_mib(worker.child_pid)}
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
            "numbers": 32 * 32 * examples,
            "stored_mib": round((record.result_bytes or 0) / MIB, 1),
            "run_s": round((record.finished_ms - record.started_ms) / 1000, 1),
            "fetched": forms,
            "resident_mib_before": before,
            "resident_mib_peak": {"service": round(service_peak[0] / MIB), "worker": round(worker_peak[0] / MIB)},
            "broker_mib_peak": round(memory["used_memory_peak"] / MIB),
        }


def _fetch(processes: Stack, job_id: str, form: str) -> dict[str, Any]:
    """Seconds and bytes of fetching a result, and the slowest poll meanwhile."""
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
    with httpx.stream("GET", url, headers={"Accept": form}, timeout=300) as answer:
        answer.raise_for_status()
        for chunk in answer.iter_raw():
            size += len(chunk)
    seconds = time.perf_counter() - began
    stop.set()
    poller.join()
    return {"seconds": round(seconds, 2), "mib": round(size / MIB, 1), "slowest_poll_s": round(slowest[0], 3)}


def _resident_mib(pid: int) -> int:
    return round(psutil.Process(pid).memory_info().rss / MIB)


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


# A lost worker


def recovery(times: int = 5) -> dict[str, Any]:
    """From ``kill -9`` of a worker to another one's start on its shard, with the settings that users have."""
    waits = []
    with stack() as processes, processes.workers("heir", **DEFAULTS, SHARD_DELAY_S="2") as _:
        for number in range(times):
            with processes.workers("victim", **DEFAULTS, SHARD_DELAY_S="2") as (victim,):
                submit(processes.store, job := demo_job(shards=4))
                slot = until(lambda job=job: _slot_of(processes.store, job.id, "victim"))
                time.sleep(0.3 * number)
                os.kill(victim.pid, signal.SIGKILL)
                killed = time.monotonic()
                until(lambda job=job, slot=slot: _worker_of(processes.store, job.id, slot) == "heir", 60, 0.05)
                waits.append(time.monotonic() - killed)
                assert ended(processes.store, job.id).status == "succeeded"
    return {"seconds": [round(wait, 1) for wait in waits], "median_s": round(statistics.median(waits), 1)}


def _worker_of(store: JobStore, job_id: str, slot: str) -> str:
    return (store.client.hget(f"pp:job:{job_id}:shards", f"worker:{slot}") or b"").decode().partition("@")[0]


def _slot_of(store: JobStore, job_id: str, worker: str) -> str | None:
    """A shard that the worker holds."""
    for slot in store.client.smembers(f"pp:job:{job_id}:running"):
        if _worker_of(store, job_id, slot.decode()) == worker:
            return str(slot.decode())
    return None


PARTS: dict[str, Callable[[], Any]] = {
    "real_cores": on_real_cores,
    "simulated_devices": on_simulated_devices,
    "long_queue": long_queue,
    "large_result": large_result,
    "recovery": recovery,
    "store_cost": store_cost,
}


def main() -> None:
    """Measure the parts, and print figures with hardware and versions beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write all figures here, beside those of other parts")
    parser.add_argument("--only", nargs="*", choices=PARTS, help="parts to measure; default all")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for name in options.only or PARTS:
        found[name] = PARTS[name]()
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    found["machine"] = {"cpu": platform.machine(), "cores": psutil.cpu_count(), "python": platform.python_version()}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
