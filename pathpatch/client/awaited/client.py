"""The client: submit specs, watch jobs, fetch results.

Requests are repeated where that is safe: submitting carries an idempotency key, so that no job runs twice.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from api_schemas.accounts import CreatedKey, DeadWebhook, KeyInfo, Me
from api_schemas.jobs import Batch, Job, JobEvent, Readiness, ValidationReport, WorkerInfo
from api_schemas.models import ModelInfo
from pathpatch.client import flows, key_calls, wire
from pathpatch.client.awaited.handles import AsyncJobHandle
from pathpatch.client.awaited.runner import AsyncRunner
from pathpatch.client.connection import Connection
from pathpatch.client.wire import SpecLike
from pathpatch.progress import Choice, display
from pathpatch.results import Result


class AsyncClient:
    """Talks to a pathpatch service. Use it as it is, or in an ``async with`` block, which closes its connections.

    Every method is awaited; ``follow`` is an async iterator.

    Args:
        url: The service; by default ``PATHPATCH_URL``, or http://127.0.0.1:8000.
        api_key: By default ``PATHPATCH_API_KEY``; none is needed on your own machine.
        timeout_s: Longest wait for the service to answer a request.
        transport: For tests: what sends the requests.

    Every method raises :class:`ServiceError` when the service refuses, and :class:`Unreachable` when none answers.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._runner = AsyncRunner(Connection.of(url, api_key, timeout_s), transport)

    @property
    def url(self) -> str:
        """The service's address."""
        return self._runner.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def close(self) -> None:
        """Close the connections."""
        await self._runner.close()

    async def submit(self, spec: SpecLike) -> AsyncJobHandle:
        """Queue one experiment; returns at once. The spec may be a ``JobSpec`` or a dict as in the JSON API."""
        return AsyncJobHandle(self._runner, await self._runner.run(flows.submit(spec)))

    async def run(self, spec: SpecLike, *, progress: Choice = None, timeout_s: float | None = None) -> Result:
        """Submit, wait and fetch the result, in one line. Arguments and errors as of :meth:`AsyncJobHandle.result`."""
        screen, is_watched = display(progress)
        with screen as told:
            return await self._runner.run(flows.run(spec, timeout_s, is_watched), told)

    async def map(
        self,
        specs: SpecLike | Sequence[SpecLike],
        *,
        seeds: Iterable[int] | None = None,
        progress: Choice = None,
        timeout_s: float | None = None,
    ) -> list[Result]:
        """The results of many specs, in their order. They are accepted as by :meth:`submit_all`.

        Args:
            seeds: Each spec is run with each of these as ``dataset.seed``; :func:`pathpatch.pool` takes the results.
            progress: As of :meth:`AsyncJobHandle.wait`; one line for all.
            timeout_s: Longest wait for each.
        """
        wanted = flows.each_seed(specs, seeds)
        screen, is_watched = display(progress, len(wanted))
        with screen as told:
            return await self._runner.run(flows.map_results(wanted, timeout_s, is_watched), told)

    async def submit_all(self, specs: Sequence[SpecLike]) -> list[AsyncJobHandle]:
        """Queue many experiments, all or none (of more than 1000, each thousand); returns at once."""
        return [AsyncJobHandle(self._runner, job) for job in await self._runner.run(flows.submit_all(list(specs)))]

    async def rerun(self, job_id: str, changes: Mapping[str, Any] | None = None) -> AsyncJobHandle:
        """Queue a job's experiment again.

        Args:
            changes: A JSON merge patch (RFC 7396) of its spec, such as ``{"dataset": {"seed": 4}}``; None removes a
                field. Without it the spec is submitted as it was.
        """
        return AsyncJobHandle(self._runner, await self._runner.run(flows.rerun(job_id, changes or {})))

    async def validate(self, spec: SpecLike) -> ValidationReport:
        """What would happen to a spec: example prompts with roles, cells, seconds, warnings. Nothing is queued."""
        return await self._runner.call(wire.validate(spec))

    async def get(self, job_id: str) -> AsyncJobHandle:
        """A job by its identifier."""
        return AsyncJobHandle(self._runner, await self._runner.call(wire.get_job(job_id)))

    async def jobs(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        tag: str | None = None,
        name: str | None = None,
        limit: int | None = 20,
    ) -> list[AsyncJobHandle]:
        """Jobs, newest first.

        Args:
            tag: ``key:value``.
            name: A part of the spec's name, in either case.
            limit: How many at most; None for all.
        """
        filters = {"status": status, "model": model, "tag": tag, "name": name}
        return [AsyncJobHandle(self._runner, job) for job in await self._runner.run(flows.every_job(filters, limit))]

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; twice is fine."""
        return await self._runner.call(wire.cancel_job(job_id))

    async def delete(self, job_id: str) -> None:
        """Erase a job's record, events and result; not while it runs."""
        await self._runner.call(wire.delete_job(job_id))

    async def result(self, job_id: str, *, progress: Choice = False, timeout_s: float | None = None) -> Result:
        """A job's result, when it has ended."""
        return await (await self.get(job_id)).result(progress=progress, timeout_s=timeout_s)

    async def events(self, job_id: str) -> list[JobEvent]:
        """What has happened to a job so far, oldest first."""
        return await self._runner.run(flows.every_event(job_id))

    def follow(self, job_id: str, after: str | None = None) -> AsyncIterator[JobEvent]:
        """A job's events as they happen, to its end; continues by itself after a lost connection."""
        return self._runner.follow(job_id, after)

    async def figure(
        self, job_id: str, figure_format: str = "json", *, kind: str | None = None, block: int | str = 0, **look: Any
    ) -> bytes:
        """A result's figure as the service draws it: ``json`` (Plotly), ``html``, ``svg``, ``png`` or ``pdf``.

        ``look``: ``title``, ``x_label``, ``y_label``, ``colour_limit``, ``size`` (width and height in inches).
        """
        return await self._runner.call(wire.get_figure(job_id, figure_format, kind, block, look))

    async def submit_batch(self, specs: Sequence[SpecLike]) -> Batch:
        """Queue at most 1000 experiments as one batch, all or none; it can be looked at and cancelled as one."""
        return await self._runner.run(flows.submit_batch(list(specs)))

    async def batch(self, batch_id: str) -> Batch:
        """A batch and the states of its jobs."""
        return await self._runner.call(wire.get_batch(batch_id))

    async def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel what has not ended of a batch."""
        return await self._runner.call(wire.cancel_batch(batch_id))

    async def wait_for_batch(self, batch_id: str, *, timeout_s: float | None = None) -> Batch:
        """Wait until every job of a batch has ended.

        Raises:
            WaitTimedOut: One has not, when ``timeout_s`` had passed; the batch goes on.
        """
        return await self._runner.run(flows.wait_for_batch(batch_id, timeout_s))

    async def models(self) -> list[ModelInfo]:
        """The models that the service knows."""
        return await self._runner.call(wire.list_models())

    async def model(self, name: str) -> ModelInfo:
        """One model: layers, heads, context, revision, workers that hold it."""
        return await self._runner.call(wire.get_model(name))

    async def workers(self) -> list[WorkerInfo]:
        """The workers that are alive, and what they run."""
        return await self._runner.call(wire.list_workers())

    async def me(self) -> Me:
        """The key's name, limits and use."""
        return await self._runner.call(wire.get_me())

    async def keys(self) -> list[KeyInfo]:
        """All API keys, without their secrets; for administrators, as the next two."""
        return await self._runner.call(key_calls.list_keys())

    async def create_key(
        self,
        name: str,
        scopes: Sequence[str] = ("read", "submit"),
        expires_after_s: float | None = None,
        limits: key_calls.Limits | None = None,
    ) -> CreatedKey:
        """Make an API key; only this answer shows its secret. ``limits``: such as ``{"submits_per_minute": 60}``."""
        return await self._runner.call(key_calls.create_key(name, scopes, expires_after_s, limits))

    async def revoke_key(self, key: str) -> None:
        """Make a key useless, by its id, or by its name if no other valid key has it."""
        await self._runner.call(key_calls.revoke_key(key))

    async def health(self) -> Readiness:
        """Whether jobs can be accepted, and the state of each component."""
        return await self._runner.call(wire.get_health())

    async def dead_webhooks(self) -> list[DeadWebhook]:
        """Webhook deliveries that were given up, newest first; for administrators."""
        return await self._runner.call(wire.list_dead_webhooks())

    async def version(self) -> dict[str, Any]:
        """The service's version."""
        return await self._runner.call(wire.get_version())
