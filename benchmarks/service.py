"""What HTTP, queue and store cost: submitting at a steady rate and in a burst, a small job from submit to result, and
polling beside clients that wait. The load comes from this process, on the same cores.

Run: ``python -m benchmarks.service [--repeats 3] [--json FILE]``. Starts its own broker, service and worker; prints a
table in Markdown. A latency counts from when its request was due, so that a stall is not hidden.
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from api_schemas.spec import JobSpec
from service.http.documented import EXAMPLE_SPEC
from service.models.catalog import ModelCatalog
from service.specs.limits import SpecLimits
from service.specs.validation import check_job
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import LiveService, live_service, spec
from tests.live_worker import live_workers

CONNECTIONS = 32
WAITERS = 200
BURST = 3200
SMALL_JOBS = 200
SMALL = EXAMPLE_SPEC | {"use_cache": False}
Row = dict[str, float]
_seeds = itertools.count()


@dataclass
class Connection:
    """One keep-alive connection; a request at a time, with as little of our own time as possible."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def request(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.send(method, path, body, headers)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        return int(answer[9:12]), await self.reader.readexactly(length)

    def send(self, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


def percentiles(seconds: list[float]) -> Row:
    """In milliseconds."""
    ordered = sorted(1000 * value for value in seconds)
    return {"p50_ms": statistics.median(ordered), "p99_ms": ordered[int(0.99 * len(ordered))]}


async def submit(connection: Connection) -> bytes:
    """One small job that no earlier one answers."""
    status, body = await connection.request("POST", "/v1/jobs", json.dumps(spec(next(_seeds))).encode())
    assert status == 202, body
    return body


async def steady(port: int, rate: float, duration_s: float, act: Callable[[Connection], Awaitable[Any]]) -> list[float]:
    """Latencies at a fixed rate."""
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        idle.put_nowait(await Connection.open(port))
    latencies: list[float] = []

    async def one(due: float) -> None:
        connection = await idle.get()
        await act(connection)
        latencies.append(time.perf_counter() - due)
        idle.put_nowait(connection)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * duration_s)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    return latencies


async def burst(port: int, count: int) -> float:
    """Accepted jobs per second, as fast as 32 connections can."""
    connections = [await Connection.open(port) for _ in range(CONNECTIONS)]
    begin = time.perf_counter()

    async def many(connection: Connection) -> None:
        for _ in range(count // CONNECTIONS):
            await submit(connection)

    await asyncio.gather(*map(many, connections))
    return count // CONNECTIONS * CONNECTIONS / (time.perf_counter() - begin)


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
        body = json.dumps(SMALL | {"dataset": {"kind": "ioi", "examples": 4, "seed": next(_seeds)}}).encode()
        started = time.perf_counter()
        status, job = await connection.request("POST", "/v1/jobs", body, "Prefer: wait=60\r\n")
        assert status == 200, job
        status, result = await connection.request("GET", json.loads(job)["links"]["result"])
        seconds.append(time.perf_counter() - started)
        assert status == 200, result
    return seconds


def bare_engine() -> list[float]:
    """Seconds of the same jobs in this process, without queue, store and HTTP."""
    import torch

    from api_schemas.models import parse_registry
    from api_schemas.spec import ModelSpec
    from tests.shards import run_job
    from worker.models.loading import load_model

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = load_model("demo", ModelSpec(name="demo"), parse_registry(""), "cpu", Path(folder)).weights
    catalog = ModelCatalog(parse_registry(""))
    seconds = []
    for _ in range(SMALL_JOBS):
        wanted = SMALL | {"dataset": {"kind": "ioi", "examples": 4, "seed": next(_seeds)}}
        checked = check_job(JobSpec.model_validate(wanted), catalog, SpecLimits())
        started = time.perf_counter()
        run_job(weights, checked.spec, checked.dataset)
        seconds.append(time.perf_counter() - started)
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


async def load(service: LiveService, duration_s: float) -> dict[str, Row]:
    """All that needs no worker: jobs stay queued, so that only the service is measured."""
    await steady(service.port, 50, 1.0, submit)  # warm-up
    found = {"submit at 200/s": percentiles(await steady(service.port, 200, duration_s, submit))}
    found["burst"] = {"jobs_per_s": await burst(service.port, BURST)}
    found |= await beside_waiters(service.port, duration_s / 2)
    found["resident"] = {"mb": psutil.Process(service.pid).memory_info().rss / 1e6}
    return found


def measure(valkey: EmbeddedValkey, folder: Path, duration_s: float) -> dict[str, Row]:
    """One run of everything."""
    with live_service(valkey, folder / "service.log") as service:
        with processors_elsewhere([os.getpid(), service.pid, valkey.pid]) as others:
            found = asyncio.run(load(service, duration_s))
        found["processors busy elsewhere"] = others
    valkey.erase()
    valkey.start()
    with (
        live_workers(valkey.url, folder, "bench", HEARTBEAT_S="3", LEASE_S="10"),
        live_service(valkey, folder / "service.log") as service,
    ):
        asyncio.run(small_jobs(service.port))  # warm-up
        whole = percentiles(asyncio.run(small_jobs(service.port)))
    bare = percentiles(bare_engine())
    found["small job, submit to result"] = whole
    found["the same in the bare engine"] = bare
    found["small job, above the engine"] = {"p50_ms": whole["p50_ms"] - bare["p50_ms"]}
    return found


BARS = {
    ("submit at 200/s", "p50_ms"): "< 5 ms",
    ("submit at 200/s", "p99_ms"): "< 25 ms",
    ("burst", "jobs_per_s"): ">= 500/s",
    ("small job, above the engine", "p50_ms"): "< 15 ms",
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


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    runs = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as name, embedded_valkey(Path(name) / "valkey") as valkey:
            runs.append(measure(valkey, Path(name), options.duration_s))
    print(table(runs))
    if options.json:
        options.json.write_text(json.dumps({"runs": runs, "machine": machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
