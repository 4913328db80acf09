"""Load on a service from one process: keep-alive connections, a steady rate, a burst."""

import asyncio
import selectors
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

CONNECTIONS = 32
Row = dict[str, float]
Found = TypeVar("Found")


def run(load: Coroutine[Any, Any, Found]) -> Found:
    """What a load finds. By ``epoll``, asyncio's usual way, timers are up to a millisecond late, which would count as
    the service's latency.
    """
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(load)


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


async def steady(port: int, rate: float, duration_s: float, act: Callable[[Connection], Awaitable[Any]]) -> list[float]:
    """Latencies at a fixed rate, each from when its request was due, so that a stall is not hidden."""
    idle: asyncio.Queue[Connection] = asyncio.Queue()
    connections = [await Connection.open(port) for _ in range(CONNECTIONS)]
    for connection in connections:
        idle.put_nowait(connection)
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
    for connection in connections:
        connection.writer.close()
    return latencies


async def burst(port: int, count: int, act: Callable[[Connection], Awaitable[Any]]) -> float:
    """Requests per second, as fast as 32 connections can."""
    connections = [await Connection.open(port) for _ in range(CONNECTIONS)]
    begin = time.perf_counter()

    async def many(connection: Connection) -> None:
        for _ in range(count // CONNECTIONS):
            await act(connection)

    await asyncio.gather(*map(many, connections))
    rate = count // CONNECTIONS * CONNECTIONS / (time.perf_counter() - begin)
    for connection in connections:
        connection.writer.close()
    return rate
