"""How the service grows: one job on more workers, long queues, jobs of many shards, large results, a lost worker.

Starts its own broker, service and workers. Two real workers share this machine's cores; more are real worker processes
whose devices also sleep (``PATHPATCH_SIMULATED_DEVICE_FLOPS``), so that everything but the arithmetic is real.
Run: ``python -m benchmarks.scaling [--json FILE] [--only PART ...]``; then ``python -m benchmarks.scaling_table FILE``.
"""

import argparse
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from benchmarks.stack import Stack, machine, stack
from benchmarks.store_cost import store_cost
from benchmarks.volume import large_result, long_queue
from job_store.records import NewJob
from job_store.store import JobStore
from tests.live_worker import LiveWorker, demo_job, ended, until
from tests.stored_jobs import submit

DEVICES_PER_WORKER = 8
SHARD_S = 3.0
"""What a simulated device takes for a shard, as real ones do (`service/sharding.py`)."""
SHARDS_PER_DEVICE = 8
FLOPS_PER_SHARD = 1e6
"""As ``demo_job`` states them."""
DEFAULTS = {"LEASE_S": "10", "HEARTBEAT_S": "3"}


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


def on_simulated_devices(counts: Sequence[int] = (1, 4, 8, 16, 32)) -> dict[str, Any]:
    """One job on so many real worker children whose devices sleep; efficiency is against shards that cost only that."""
    rows = {}
    with stack() as processes:
        for count in counts:
            settings = {**DEFAULTS, "THREADS": "1", "SIMULATED_DEVICE_FLOPS": str(FLOPS_PER_SHARD / SHARD_S)}
            per_worker = min(count, DEVICES_PER_WORKER)
            names = [f"n{count}-{i}" for i in range(count // per_worker)]
            with ExitStack() as started:
                for name in names:  # one after the other: each imports torch
                    started.enter_context(processes.workers(name, DEVICE=",".join(["cpu"] * per_worker), **settings))
                processes.seconds_of(demo_job(count))  # every child has done its first shard
                shards = SHARDS_PER_DEVICE * count
                before = _cpu_seconds(processes)
                seconds = processes.seconds_of(demo_job(shards))
                used = {name: value - before[name] for name, value in _cpu_seconds(processes).items()}
            rows[str(count)] = {
                "shards": shards,
                "seconds": round(seconds, 2),
                "shards_per_s": round(shards / seconds, 2),
                "efficiency": round(shards * SHARD_S / count / seconds, 3),
                **{f"{name}_cpu_share": round(value / seconds, 3) for name, value in used.items()},
            }
            print(count, json.dumps(rows[str(count)]), flush=True)
    return rows


def _cpu_seconds(processes: Stack) -> dict[str, float]:
    times = {"broker": processes.valkey.pid, "service": processes.service.pid}
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in times.items()}


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
    parser.add_argument("--devices", nargs="*", type=int, help="numbers of simulated devices")
    options = parser.parse_args()
    found: dict[str, Any] = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for name in options.only or PARTS:
        if name == "simulated_devices" and options.devices:
            found.setdefault(name, {}).update(on_simulated_devices(options.devices))
        else:
            found[name] = PARTS[name]()
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    found |= {"machine": machine(), "shard_s": SHARD_S}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
