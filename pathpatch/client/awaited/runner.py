"""Runs flows: sends their requests, waits their pauses, tells their progress."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import httpx

from api_schemas.jobs import JobEvent
from pathpatch.client import flows, wire
from pathpatch.client.calls import Answer, Call, EventReader
from pathpatch.client.connection import RECONNECT_S, Connection
from pathpatch.client.retries import AWAY, MOST_RETRIES, Lost
from pathpatch.problems import ServiceError
from pathpatch.progress import Told

Value = TypeVar("Value")


class AsyncRunner:
    """The connections to one service, and what runs the client's flows over them."""

    def __init__(self, connection: Connection, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._connection = connection
        self._http = httpx.AsyncClient(transport=transport, **connection.options())

    @property
    def url(self) -> str:
        """The service's address."""
        return self._connection.url

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(self, call: Call[Value]) -> Value:
        """One request's answer, read."""
        return await self.run(flows.exchange(call))

    async def run(self, flow: flows.Flow[Value], told: Told | None = None) -> Value:
        """Do what a flow asks for, until it returns."""
        outcome: Any = None
        while True:
            try:
                effect = flow.send(outcome)
            except StopIteration as end:
                returned: Value = end.value
                return returned
            outcome = None
            if isinstance(effect, flows.Send):
                outcome = await self._send(effect.call)
            elif isinstance(effect, flows.Pause):
                await asyncio.sleep(effect.seconds)
            elif told is not None:
                told(effect.job)

    async def _send(self, call: Call[Any]) -> Answer | Lost:
        try:
            response = await self._http.request(call.method, call.path, **self._connection.arguments(call))
        except httpx.TransportError as exc:
            return self._connection.lost(exc)
        return self._connection.answer(response)

    async def follow(self, job_id: str, after: str | None = None) -> AsyncIterator[JobEvent]:
        """A job's events as they happen, to its end; continues by itself after a lost connection."""
        refused = 0
        while True:
            try:
                async for event in self._stream(wire.follow_events(job_id, after)):
                    after, refused = event.id, 0
                    yield event
                    if wire.ends_job(event):
                        return
            except httpx.TransportError:
                pass
            except ServiceError as exc:
                refused += 1
                if exc.status not in AWAY or refused > MOST_RETRIES:
                    raise
            await asyncio.sleep(RECONNECT_S)
            if not await self.run(flows.has_more_events(job_id, after)):
                return

    async def _stream(self, call: Call[None]) -> AsyncIterator[JobEvent]:
        reader = EventReader()
        async with self._http.stream(call.method, call.path, **self._connection.arguments(call)) as response:
            if response.status_code >= 400:
                await response.aread()
                call.read(self._connection.answer(response))
            async for line in response.aiter_lines():
                event = reader.feed(line)
                if event is not None:
                    yield event
