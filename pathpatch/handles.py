"""Handles of submitted jobs: what a job was when last asked, and what can be done with it."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from api_schemas.errors import Problem
from api_schemas.jobs import Job, JobEvent
from api_schemas.spec import JobSpec
from pathpatch import flows
from pathpatch.progress import Choice, display, text_bar
from pathpatch.results import Result

if TYPE_CHECKING:
    from pathpatch.async_client import AsyncClient
    from pathpatch.client import Client


class _Record:
    """What a job was when the service was last asked."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def id(self) -> str:
        """Identifier."""
        return self.job.id

    @property
    def status(self) -> str:
        """State when last asked: ``queued running cancelling succeeded failed cancelled expired``."""
        return self.job.status

    @property
    def done(self) -> bool:
        """Whether it had ended when last asked."""
        return self.job.done

    @property
    def spec(self) -> JobSpec:
        """The spec, defaults filled in."""
        return self.job.spec

    @property
    def error(self) -> Problem | None:
        """Why it failed."""
        return self.job.error

    def __repr__(self) -> str:
        return f"<{text_bar(self.job)}>"


class JobHandle(_Record):
    """A submitted job."""

    def __init__(self, client: "Client", job: Job) -> None:
        super().__init__(job)
        self._client = client

    def refresh(self) -> "JobHandle":
        """Ask the service anew."""
        self.job = self._client.get(self.id).job
        return self

    def wait(self, *, progress: Choice = None, timeout_s: float | None = None) -> "JobHandle":
        """Wait until the job has ended, however it ends.

        Args:
            progress: True shows a bar, False nothing, None a bar where somebody can see it; or a function of the job.

        Raises:
            WaitTimedOut: ``timeout_s`` passed first; the job goes on.
            Unreachable: The service went away and was not back when it passed (without it, after three minutes).
        """
        screen, is_watched = display(progress)
        with screen as told:
            self.job = self._client._run(flows.wait(self.job, timeout_s, is_watched), told)
        return self

    def result(self, *, progress: Choice = None, timeout_s: float | None = None) -> Result:
        """The result, when the job has ended; arguments as of :meth:`wait`.

        Raises:
            JobFailed: It failed, was cancelled, or expired; carries the problem.
        """
        started = time.monotonic()
        self.wait(progress=progress, timeout_s=timeout_s)
        return self._client._run(flows.result(self.job, timeout_s, False, started))

    def cancel(self) -> "JobHandle":
        """Cancel it; twice is fine."""
        self.job = self._client.cancel(self.id)
        return self

    def delete(self) -> None:
        """Erase its record, events and result."""
        self._client.delete(self.id)

    def events(self) -> list[JobEvent]:
        """What has happened so far, oldest first."""
        return self._client.events(self.id)

    def follow(self) -> Iterator[JobEvent]:
        """Its events as they happen, to its end."""
        return self._client.follow(self.id)


class AsyncJobHandle(_Record):
    """A submitted job of an async client; methods as of :class:`JobHandle`, awaited."""

    def __init__(self, client: "AsyncClient", job: Job) -> None:
        super().__init__(job)
        self._client = client

    async def refresh(self) -> "AsyncJobHandle":
        """Ask the service anew."""
        self.job = (await self._client.get(self.id)).job
        return self

    async def wait(self, *, progress: Choice = None, timeout_s: float | None = None) -> "AsyncJobHandle":
        """Wait until the job has ended, however it ends."""
        screen, is_watched = display(progress)
        with screen as told:
            self.job = await self._client._run(flows.wait(self.job, timeout_s, is_watched), told)
        return self

    async def result(self, *, progress: Choice = None, timeout_s: float | None = None) -> Result:
        """The result, when the job has ended."""
        started = time.monotonic()
        await self.wait(progress=progress, timeout_s=timeout_s)
        return await self._client._run(flows.result(self.job, timeout_s, False, started))

    async def cancel(self) -> "AsyncJobHandle":
        """Cancel it; twice is fine."""
        self.job = await self._client.cancel(self.id)
        return self

    async def delete(self) -> None:
        """Erase its record, events and result."""
        await self._client.delete(self.id)

    async def events(self) -> list[JobEvent]:
        """What has happened so far, oldest first."""
        return await self._client.events(self.id)

    def follow(self) -> AsyncIterator[JobEvent]:
        """Its events as they happen, to its end."""
        return self._client.follow(self.id)
