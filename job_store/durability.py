"""Whether accepted jobs are in the append-only file, so that they survive the broker, and on replicas if there are."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.errors import PathPatchingError, StoreFull, StoreUnavailable
from job_store.script import Step
from job_store.store import AsyncJobStore

PATIENCE_S = 3.0
"""A broker delays a write by at most two seconds."""
PAUSE_S = 0.005


def on_disk() -> Step[str]:
    """``yes``, ``wait``, ``no``, or ``off`` without an append-only file."""
    return Step("on_disk", (), lambda reply: reply.decode(), shares_way=True)


def try_create() -> Step[int]:
    """Write nothing, but fail if creating a job would fail.

    Raises:
        StoreFull: Memory or disk is full.
    """
    return Step("try_create", (), int)


def lost(job_ids: Sequence[str]) -> Step[set[str]]:
    """Of these jobs, those that are not on record."""
    return Step("lost", tuple(job_ids), lambda reply: {job_id.decode() for job_id in reply})


@dataclass(frozen=True)
class _Turn:
    job_ids: tuple[str, ...]
    done: asyncio.Future[PathPatchingError | None]


class Durability:
    """Asks the store whether writes have reached its file and its replicas; simultaneous callers share an answer."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._waiting: list[_Turn] = []
        self._asking: asyncio.Task[None] | None = None

    async def confirm(self, *job_ids: str) -> None:
        """Return once everything answered before this call is on disk, and on as many replicas as the URL asks for.

        Args:
            job_ids: Jobs just created: a failover may have lost them.

        Raises:
            StoreFull: The disk is full. Accepted jobs may still be lost.
            StoreUnavailable: The store does not answer, too few replicas follow, or a job is lost.
        """
        turn = _Turn(job_ids, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer_all())
        if (error := await turn.done) is not None:
            raise error

    async def _answer_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            missing: set[str] = set()
            if (error := await self._ask()) is None and self._store.replicas:
                error, missing = await self._look_for([job_id for turn in waiting for job_id in turn.job_ids])
            for turn in waiting:
                if not turn.done.done():
                    turn.done.set_result(_lost() if missing.intersection(turn.job_ids) else error)

    async def _look_for(self, job_ids: list[str]) -> tuple[PathPatchingError | None, set[str]]:
        try:
            return None, await self._store.run(lost(job_ids)) if job_ids else set()
        except PathPatchingError as error:
            return error, set()

    async def _ask(self) -> PathPatchingError | None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        try:
            while (answer := await self._store.run(on_disk())) == "wait":
                if asyncio.get_running_loop().time() > deadline:
                    break
                await asyncio.sleep(PAUSE_S)
            await self._store.replicate()
        except PathPatchingError as error:
            return error
        if answer in ("yes", "off"):
            return None
        return StoreFull(
            "The job store cannot write to its disk, so what you sent may be lost; it may also have been accepted. "
            "Send it again with the same Idempotency-Key once there is room."
        )


def _lost() -> StoreUnavailable:
    return StoreUnavailable(
        "The job store's primary has failed, and what you sent is lost. Send it again with the same Idempotency-Key."
    )
