"""Latency and throughput of the HTTP service: submit at a steady rate and in a burst, poll beside waiting clients.

Starts its own broker and service (no worker: jobs stay queued, so that only the service is measured) and loads them
from this process, on the same cores. Run: ``python -m benchmarks.service``. Prints one JSON document.
"""

import argparse
import asyncio
import itertools
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.embedded_valkey import embedded_valkey
from tests.live_service import LiveService, live_service, spec

CONNECTIONS = 32
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
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        return int(answer[9:12]), await self.reader.readexactly(length)


def _figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(1000 * value for value in seconds)
    return {
        "requests": len(ordered),
        "p50_ms": round(statistics.median(ordered), 2),
        "p90_ms": round(ordered[int(0.9 * len(ordered))], 2),
        "p99_ms": round(ordered[int(0.99 * len(ordered))], 2),
        "max_ms": round(ordered[-1], 2),
    }


async def _submit(connection: Connection) -> bytes:
    status, body = await connection.request("POST", "/v1/jobs", json.dumps(spec(next(_seeds))).encode())
    assert status == 202, body
    return body


async def steady(port: int, rate: float, duration_s: float, act: Callable[[Connection], Awaitable[Any]]) -> list[float]:
    """Latencies at a fixed rate; each counts from when it was due, so that a stall is not hidden."""
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
            await _submit(connection)

    await asyncio.gather(*map(many, connections))
    return count // CONNECTIONS * CONNECTIONS / (time.perf_counter() - begin)


async def beside_waiters(port: int, waiters: int, rate: float, duration_s: float) -> dict[str, Any]:
    """Latency of polling, alone and while so many clients wait for a job."""
    job = json.loads(await _submit(await Connection.open(port)))
    path = job["links"]["self"]

    async def poll(connection: Connection) -> None:
        await connection.request("GET", path)

    alone = await steady(port, rate, duration_s, poll)
    connections = [await Connection.open(port) for _ in range(waiters)]
    waiting = [asyncio.create_task(one.request("GET", path, headers="Prefer: wait=60\r\n")) for one in connections]
    await asyncio.sleep(1.0)
    beside = await steady(port, rate, duration_s, poll)
    for task in waiting:
        task.cancel()
    return {"alone": _figures(alone), f"beside_{waiters}_waiting": _figures(beside)}


async def _measure(service: LiveService, duration_s: float) -> dict[str, Any]:
    process = psutil.Process(service.pid)
    await steady(service.port, 50, 1.0, _submit)  # warm-up
    found: dict[str, Any] = {"submit_at_200_per_s": _figures(await steady(service.port, 200, duration_s, _submit))}
    found["burst_jobs_per_s"] = round(await burst(service.port, 3200))
    found["poll_at_200_per_s"] = await beside_waiters(service.port, 200, 200, duration_s)
    found["resident_mib"] = round(process.memory_info().rss / 2**20, 1)
    return found


def main() -> None:
    """Measure, and print figures with hardware and versions beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    runs = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with embedded_valkey(folder / "valkey") as valkey, live_service(valkey, folder / "service.log") as service:
                runs.append(asyncio.run(_measure(service, options.duration_s)))
    machine = {"cpu": platform.processor() or platform.machine(), "cores": psutil.cpu_count()}
    print(json.dumps({"machine": machine, "python": platform.python_version(), "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
