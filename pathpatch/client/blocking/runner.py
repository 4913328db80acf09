# Generated from ../awaited by `python pathpatch/client/generate.py`: change that instead.
"""Runs flows: sends their requests, waits their pauses, tells their progress."""

import time
from collections.abc import Iterator
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


class Runner:
    """The connections to one service, and what runs the client's flows over them."""

    def __init__(self, connection: Connection, transport: httpx.BaseTransport | None = None) -> None:
        self._connection = connection
        self._http = httpx.Client(transport=transport, **connection.options())

    @property
    def url(self) -> str:
        """The service's address."""
        return self._connection.url

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, call: Call[Value]) -> Value:
        """One request's answer, read."""
        return self.run(flows.exchange(call))

    def run(self, flow: flows.Flow[Value], told: Told | None = None) -> Value:
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
                outcome = self._send(effect.call)
            elif isinstance(effect, flows.Pause):
                time.sleep(effect.seconds)
            elif told is not None:
                told(effect.job)

    def _send(self, call: Call[Any]) -> Answer | Lost:
        try:
            response = self._http.request(call.method, call.path, **self._connection.arguments(call))
        except httpx.TransportError as exc:
            return self._connection.lost(exc)
        return self._connection.answer(response)

    def follow(self, job_id: str, after: str | None = None) -> Iterator[JobEvent]:
        """A job's events as they happen, to its end; continues by itself after a lost connection."""
        refused = 0
        while True:
            try:
                for event in self._stream(wire.follow_events(job_id, after)):
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
            time.sleep(RECONNECT_S)
            if not self.run(flows.has_more_events(job_id, after)):
                return

    def _stream(self, call: Call[None]) -> Iterator[JobEvent]:
        reader = EventReader()
        with self._http.stream(call.method, call.path, **self._connection.arguments(call)) as response:
            if response.status_code >= 400:
                response.read()
                call.read(self._connection.answer(response))
            for line in response.iter_lines():
                event = reader.feed(line)
                if event is not None:
                    yield event
