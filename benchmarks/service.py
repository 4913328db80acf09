"""What HTTP, queue and store cost, beside a bare FastAPI + Celery application in the same minutes.

Submitting at a steady rate and in a burst, answering from an earlier result, a small job from submit to result, polling
beside clients that wait, and starting. The load comes from this process, on the same cores.

Run: ``python -m benchmarks.service [--repeats 3] [--json FILE]``. Starts its own brokers, services and workers; prints
a table in Markdown. A latency counts from when its request was due, so that a stall is not hidden.
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psutil

from api_schemas.spec import JobSpec
from benchmarks.bare import bare_application
from benchmarks.http_load import Connection, Row, burst, percentiles, run, steady
from benchmarks.stack import machine
from job_store.store import JobStore
from service.http.documented import EXAMPLE_SPEC
from service.models.catalog import ModelCatalog
from service.specs.limits import SpecLimits
from service.specs.validation import check_job
from tests.embedded_valkey import embedded_valkey
from tests.live_service import WorkerHand, live_service, spec
from tests.live_worker import LiveWorker, live_workers

WAITERS = 200
BURST = 1600
BARE_S = 5.0
SMALL_JOBS = 50
TURNS = 2
"""Ours and the bare application's, one after the other, so many times."""
SMALL_TURNS = 4
SMALL = EXAMPLE_SPEC | {"use_cache": False}
CACHED = json.dumps(spec(10**9)).encode()
POLL_S = 0.001
READY_AFTER_S = 10.0
"""A service's process for figures is ready this long after its start."""
_seeds = itertools.count()


async def submit(connection: Connection) -> bytes:
    """One small job that no earlier one answers."""
    status, body = await connection.request("POST", "/v1/jobs", json.dumps(spec(next(_seeds))).encode())
    assert status == 202, body
    return body


async def submit_cached(connection: Connection) -> None:
    """One job that an earlier one answers."""
    status, body = await connection.request("POST", "/v1/jobs", CACHED)
    assert status == 202, body
    assert b'"cached":true' in body, body


async def beside_waiters(port: int, duration_s: float) -> dict[str, Row]:
    """Polling at 200/s: alone, and while so many clients wait for the job or follow its events."""
    path = json.loads(await submit(await Connection.open(port)))["links"]["self"]

    async def poll(connection: Connection) -> None:
        await connection.request("GET", path)

    found = {"poll, nobody waits": percentiles(await steady(port, 200, duration_s, poll))}
    for what, suffix, header in (
        (f"poll beside {WAITERS} that wait", "", "Prefer: wait=60\r\n"),
        (f"poll beside {WAITERS} event streams", "/events", "Accept: text/event-stream\r\n"),
    ):
        connections = [await Connection.open(port) for _ in range(WAITERS)]
        for connection in connections:
            connection.send("GET", path + suffix, headers=header)
        await asyncio.sleep(1.0)
        found[what] = percentiles(await steady(port, 200, duration_s, poll))
        for connection in connections:
            connection.writer.close()
    return found


async def small_jobs(port: int) -> list[float]:
    """Seconds from submit to result, one job after the other on an idle stack: two requests each."""
    connection = await Connection.open(port)
    seconds = []
    for _ in range(SMALL_JOBS):
        body = small_job()
        started = time.perf_counter()
        status, job = await connection.request("POST", "/v1/jobs", body, "Prefer: wait=60\r\n")
        assert status == 200, job
        status, result = await connection.request("GET", json.loads(job)["links"]["result"])
        seconds.append(time.perf_counter() - started)
        assert status == 200, result
    connection.writer.close()
    return seconds


async def bare_jobs(port: int) -> list[float]:
    """The same of the bare application, whose client polls."""
    connection = await Connection.open(port)
    seconds = []
    for _ in range(SMALL_JOBS):
        body = small_job()
        started = time.perf_counter()
        _, job = await connection.request("POST", "/v1/jobs", body)
        path = f"/v1/jobs/{json.loads(job)['id']}"
        while b"SUCCESS" not in (await connection.request("GET", path))[1]:  # noqa: ASYNC110 (it polls)
            await asyncio.sleep(POLL_S)
        seconds.append(time.perf_counter() - started)
    connection.writer.close()
    return seconds


def small_job() -> bytes:
    """A spec that was not sent before."""
    return json.dumps(SMALL | {"dataset": {"kind": "ioi", "examples": 4, "seed": next(_seeds)}}).encode()


def bare_engine() -> Callable[[], list[float]]:
    """What gives the seconds of the same jobs in this process, without queue, store and HTTP."""
    import torch

    from api_schemas.models import parse_registry
    from api_schemas.spec import ModelSpec
    from tests.shards import run_job
    from worker.models.loading import load_model

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = load_model("demo", ModelSpec(name="demo"), parse_registry(""), "cpu", Path(folder)).weights
    catalog = ModelCatalog(parse_registry(""))

    def seconds() -> list[float]:
        found = []
        for _ in range(SMALL_JOBS):
            checked = check_job(JobSpec.model_validate_json(small_job()), catalog, SpecLimits())
            started = time.perf_counter()
            run_job(weights, checked.spec, checked.dataset)
            found.append(time.perf_counter() - started)
        return found

    return seconds


@contextmanager
def processors_elsewhere(own: list[int]) -> Iterator[Row]:
    """How many processors others kept busy meanwhile: 0 on a quiet machine."""

    def read() -> tuple[float, float]:
        times = psutil.cpu_times()
        mine = sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in own)
        return times.user + times.nice + times.system, mine

    found: Row = {}
    busy, mine, began = *read(), time.perf_counter()
    yield found
    busy_after, mine_after = read()
    found["elsewhere"] = max(0.0, (busy_after - busy) - (mine_after - mine)) / (time.perf_counter() - began)


async def load(ours: int, bare: int, duration_s: float) -> dict[str, Row]:
    """All that needs no worker: jobs stay queued, so that only the services are measured; ours and the bare one take
    turns."""
    taken: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    for port in (ours, bare):
        await steady(port, 50, 1.0, submit)  # warm-up
    for _ in range(TURNS):
        taken["bare: submit at 200/s"] += await steady(bare, 200, duration_s / TURNS, submit)
        taken["submit at 200/s"] += await steady(ours, 200, duration_s / TURNS, submit)
        taken["cached answer at 200/s"] += await steady(ours, 200, duration_s / TURNS, submit_cached)
    for _ in range(TURNS):
        rates["bare: burst"].append(await burst(bare, BURST, submit))
        rates["burst"].append(await burst(ours, BURST, submit))
    found = {what: percentiles(seconds) for what, seconds in taken.items()}
    return found | {what: {"jobs_per_s": statistics.mean(rate)} for what, rate in rates.items()}


def without_worker(folder: Path, duration_s: float) -> dict[str, Row]:
    """The services alone."""
    with (
        embedded_valkey(folder / "valkey") as valkey,
        live_service(valkey, folder / "service.log") as service,
        bare_application(folder, has_worker=False) as bare,
    ):
        service.client.post("/v1/jobs", content=CACHED, headers={"Content-Type": "application/json"})
        WorkerHand(JobStore.connect(valkey.url)).work_off()
        processes = [process.pid for process in psutil.Process().children(recursive=True)]
        with processors_elsewhere([os.getpid(), *processes]) as others:
            found = run(load(service.port, bare, duration_s))
            found |= run(beside_waiters(service.port, duration_s / 2))
        found["resident"] = {"mb": psutil.Process(service.pid).memory_info().rss / 1e6}
        found["processors busy elsewhere"] = others
    return found


def with_worker(folder: Path) -> dict[str, Row]:
    """Small jobs, ours, the bare application's and those of the engine alone in turns."""
    engine_alone = bare_engine()
    whole: list[float] = []
    bare: list[float] = []
    inner: list[float] = []
    with (
        embedded_valkey(folder / "worked") as valkey,
        live_workers(valkey.url, folder, "bench", HEARTBEAT_S="3", LEASE_S="10"),
        live_service(valkey, folder / "service.log") as service,
        bare_application(folder / "worked", has_worker=True) as port,
    ):
        run(small_jobs(service.port))  # warm-up
        run(bare_jobs(port))
        engine_alone()
        for _ in range(SMALL_TURNS):
            whole += run(small_jobs(service.port))
            bare += run(bare_jobs(port))
            inner += engine_alone()
        worked = run(bare_load(port))
    found = {"small job, submit to result": percentiles(whole), "bare: job, submit to result": percentiles(bare)}
    found["small job in the engine alone"] = percentiles(inner)
    above = found["small job, submit to result"]["p50_ms"] - found["small job in the engine alone"]["p50_ms"]
    return found | worked | {"small job, above the engine": {"p50_ms": above}}


async def bare_load(port: int) -> dict[str, Row]:
    """The bare application while its worker does the jobs."""
    seconds = await steady(port, 200, BARE_S, submit)
    rate = await burst(port, BURST, submit)
    return {"bare, working: submit at 200/s": percentiles(seconds), "bare, working: burst": {"jobs_per_s": rate}}


def starts(folder: Path) -> dict[str, Row]:
    """Seconds until a worker takes jobs, beside the import of torch alone; and the first figures of a service."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    seconds = {"import torch": {"s": time.perf_counter() - began}}
    with embedded_valkey(folder / "cold") as valkey:
        worker = LiveWorker(valkey.url, folder, "cold")
        try:
            began = time.perf_counter()
            worker.start()
            worker.wait_until_ready()
            seconds["worker, from its start to ready"] = {"s": time.perf_counter() - began}
        finally:
            worker.stop()
        with live_service(valkey, folder / "cold.log") as service:
            job = service.client.post("/v1/jobs", content=CACHED, headers={"Content-Type": "application/json"}).json()
            WorkerHand(JobStore.connect(valkey.url)).work_off()
            for what in ("figure (SVG), right after the service's start", "figure (SVG), by the process kept ready"):
                began = time.perf_counter()
                answer = service.client.get(job["links"]["figure"], headers={"Accept": "image/svg+xml"})
                assert answer.status_code == 200, answer.text
                seconds[what] = {"s": time.perf_counter() - began}
                time.sleep(READY_AFTER_S)
    return seconds


def ratios(found: dict[str, Row]) -> dict[str, Row]:
    """To the bare application, in the same minutes."""
    kinds = [
        ("submit at 200/s", "p50_ms", "submit at 200/s"),
        ("burst", "jobs_per_s", "burst"),
        ("cached answer at 200/s", "p50_ms", "submit at 200/s"),
    ]
    ratios = {
        f"{ours} / {bare}: {theirs}": {"ratio": found[ours][figure] / found[f"{bare}: {theirs}"][figure]}
        for ours, figure, theirs in kinds
        for bare in ("bare", "bare, working")
    }
    small = found["small job, above the engine"]["p50_ms"] / found["bare: job, submit to result"]["p50_ms"]
    return ratios | {"small job, above the engine / bare: job, submit to result": {"ratio": small}}


BARS = {
    **{
        (f"{row} / {bare}: {theirs}", "ratio"): bar
        for bare in ("bare", "bare, working")
        for row, theirs, bar in (
            ("submit at 200/s", "submit at 200/s", "<= 1.0"),
            ("burst", "burst", ">= 1.5"),
            ("cached answer at 200/s", "submit at 200/s", "<= 0.8"),
        )
    },
    ("small job, above the engine / bare: job, submit to result", "ratio"): "<= 2",
    ("resident", "mb"): "< 150 MB",
}


def table(runs: list[dict[str, Row]]) -> str:
    """Markdown: the median over the runs, and between which values they lay."""
    lines = ["| what | figure | median | from | to | bar |", "|---|---|---|---|---|---|"]
    for what, row in runs[0].items():
        for figure in row:
            values = sorted(run[what][figure] for run in runs)
            numbers = " | ".join(f"{value:.3g}" for value in (statistics.median(values), values[0], values[-1]))
            lines.append(f"| {what} | {figure} | {numbers} | {BARS.get((what, figure), '')} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    runs = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as name:
            found = without_worker(Path(name), options.duration_s) | with_worker(Path(name)) | starts(Path(name))
            runs.append(ratios(found) | found)
    print(table(runs))
    if options.json:
        options.json.write_text(
            json.dumps({"runs": runs, "machine": machine() | {"date": datetime.now(UTC).date().isoformat()}}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
