"""Whether accepted jobs are in the append-only file, so that they survive the broker."""

import asyncio

from api_schemas.errors import PathPatchingError, StoreFull
from job_store.script import Step
from job_store.store import AsyncJobStore

PATIENCE_S = 3.0
"""A broker delays a write by at most two seconds."""
PAUSE_S = 0.005


def on_disk() -> Step[str]:
    """``yes``, ``wait``, ``no``, or ``off`` without an append-only file."""
    return Step("on_disk", (), lambda reply: reply.decode())


def try_create() -> Step[int]:
    """Write nothing, but fail if creating a job would fail.

    Raises:
        StoreFull: Memory or disk is full.
    """
    return Step("try_create", (), int)


class Durability:
    """Asks the store whether writes have reached its file; simultaneous callers share an answer."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._waiting: list[asyncio.Future[PathPatchingError | None]] = []
        self._asking: asyncio.Task[None] | None = None

    async def confirm(self) -> None:
        """Return once everything answered before this call is on disk.

        Raises:
            StoreFull: The disk is full. Accepted jobs may still be lost.
            StoreUnavailable: The store does not answer.
        """
        turn: asyncio.Future[PathPatchingError | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer_all())
        if (error := await turn) is not None:
            raise error

    async def _answer_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            error = await self._ask()
            for turn in waiting:
                if not turn.done():
                    turn.set_result(error)

    async def _ask(self) -> PathPatchingError | None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        try:
            while (answer := await self._store.run(on_disk())) == "wait":
                if asyncio.get_running_loop().time() > deadline:
                    break
                await asyncio.sleep(PAUSE_S)
        except PathPatchingError as error:
            return error
        if answer in ("yes", "off"):
            return None
        return StoreFull(
            "The job store cannot write to its disk, so what you sent may be lost; it may also have been accepted. "
            "Send it again with the same Idempotency-Key once there is room."
        )
