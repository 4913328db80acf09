"""A submitted job: what it was when the service was last asked, and what can be done with it."""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from api_schemas.jobs import Job, JobEvent
from pathpatch.client import flows, wire
from pathpatch.client.awaited.runner import AsyncRunner
from pathpatch.client.job_record import JobRecord
from pathpatch.progress import Choice, display
from pathpatch.results import Result


class AsyncJobHandle(JobRecord):
    """A submitted job."""

    def __init__(self, runner: AsyncRunner, job: Job) -> None:
        super().__init__(job)
        self._runner = runner

    async def refresh(self) -> "AsyncJobHandle":
        """Ask the service anew."""
        self.job = await self._runner.call(wire.get_job(self.id))
        return self

    async def wait(self, *, progress: Choice = None, timeout_s: float | None = None) -> "AsyncJobHandle":
        """Wait until the job has ended, however it ends.

        Args:
            progress: True shows a bar, False nothing, None a bar where somebody can see it; or a function of the job.

        Raises:
            WaitTimedOut: ``timeout_s`` passed first; the job goes on.
            Unreachable: The service went away and was not back when it passed (without it, after three minutes).
        """
        screen, is_watched = display(progress)
        with screen as told:
            self.job = await self._runner.run(flows.wait(self.job, timeout_s, is_watched), told)
        return self

    async def result(self, *, progress: Choice = None, timeout_s: float | None = None) -> Result:
        """The result, when the job has ended; arguments as of :meth:`wait`.

        Raises:
            JobFailed: It failed, was cancelled, or expired; carries the problem.
        """
        started = time.monotonic()
        await self.wait(progress=progress, timeout_s=timeout_s)
        return await self._runner.run(flows.result(self.job, timeout_s, False, started))

    async def cancel(self) -> "AsyncJobHandle":
        """Cancel it; twice is fine."""
        self.job = await self._runner.call(wire.cancel_job(self.id))
        return self

    async def rerun(self, changes: Mapping[str, Any] | None = None) -> "AsyncJobHandle":
        """Queue its experiment again as a new job, with changes: a merge patch such as ``{"dataset": {"seed": 4}}``."""
        return AsyncJobHandle(self._runner, await self._runner.run(flows.rerun(self.id, changes or {})))

    async def delete(self) -> None:
        """Erase its record, events and result."""
        await self._runner.call(wire.delete_job(self.id))

    async def events(self) -> list[JobEvent]:
        """What has happened so far, oldest first."""
        return await self._runner.run(flows.every_event(self.id))

    def follow(self) -> AsyncIterator[JobEvent]:
        """Its events as they happen, to its end."""
        return self._runner.follow(self.id)
