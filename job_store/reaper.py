"""The reaper repairs within seconds what a crash left undone; one service process at a time leads."""

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from typing import Any

from api_schemas.errors import PathPatchingError
from job_store.nudges import nudge
from job_store.script import Step
from job_store.store import AsyncJobStore

log = logging.getLogger(__name__)

ERASED_AT_ONCE = 100
MOST_ERASED = 10_000
"""Limit of one sweep every two seconds; a store takes at most some thousand new jobs per second."""


def lead(candidate: str, ttl_s: float) -> Step[bool]:
    """Become or stay leader for ``ttl_s``."""
    return Step("lead", (candidate, round(ttl_s * 1000)), bool)


def _names(reply: list[Any]) -> tuple[str, ...]:
    return tuple(name.decode() for name in reply)


def lapse_leases(limit: int = 200) -> Step[tuple[str, ...]]:
    """Take shards from silent workers: queue them again, or fail the job after the last attempt."""
    return Step("lapse_leases", (limit,), _names)


def expire_jobs(limit: int = 200) -> Step[tuple[str, ...]]:
    """Expire jobs past their deadline."""
    return Step("expire_jobs", (limit,), _names)


def settle_cancelled(limit: int = 200) -> Step[tuple[str, ...]]:
    """End cancelling jobs that have no running shard."""
    return Step("settle_cancelled", (limit,), _names)


def erase_old(limit: int = 100, elapsed_s: float | None = None, most_bytes: int = 0) -> Step[tuple[str, ...]]:
    """Erase results past their retention, and later their records; and the oldest results above ``most_bytes``.

    Args:
        elapsed_s: Seconds since the last sweep by the caller's own clock, 0 at first. Ages grow by no more than this,
            whatever the server's clock says. Absent: the server's clock counts.
        most_bytes: What all results together may take; 0 is unlimited.
    """
    elapsed_ms = "" if elapsed_s is None else round(elapsed_s * 1000)
    return Step("erase_old", (limit, elapsed_ms, most_bytes), _names, repeatable=False)


def starved() -> Step[tuple[str, ...]]:
    """Models with claimable shards but no message in their queue."""
    return Step("starved", (), _names)


@dataclass(frozen=True)
class Swept:
    """What one sweep repaired."""

    lapsed: tuple[str, ...]
    expired: tuple[str, ...]
    settled: tuple[str, ...]
    erased: tuple[str, ...]
    nudged: dict[str, int]
    """Model -> messages."""


class Reaper:
    """Sweeps every ``period_s`` while it leads; each service process may run one."""

    def __init__(self, store: AsyncJobStore, period_s: float = 2.0, most_bytes: int = 0) -> None:
        self._store = store
        self._period_s = period_s
        self._most_bytes = most_bytes
        self._name = secrets.token_hex(8)
        self._erased_at: float | None = None

    async def sweep(self) -> Swept | None:
        """One round; None if another process leads."""
        run = self._store.run
        if not await run(lead(self._name, 3 * self._period_s)):
            return None
        swept = Swept(
            lapsed=await run(lapse_leases()),
            expired=await run(expire_jobs()),
            settled=await run(settle_cancelled()),
            erased=await self._erase(),
            nudged={model: await run(nudge(model)) for model in await run(starved())},
        )
        if swept.lapsed:
            log.warning("leases lapsed: %s", ", ".join(swept.lapsed))
        return swept

    async def _erase(self) -> tuple[str, ...]:
        """Erase all that is past its retention, up to the limit of a sweep."""
        now = time.monotonic()
        elapsed_s = 0.0 if self._erased_at is None else now - self._erased_at
        self._erased_at = now
        erased = await self._store.run(erase_old(ERASED_AT_ONCE, elapsed_s, self._most_bytes))
        found = erased
        while len(erased) == ERASED_AT_ONCE and len(found) < MOST_ERASED:
            erased = await self._store.run(erase_old(ERASED_AT_ONCE, most_bytes=self._most_bytes))
            found += erased
        return found

    async def run_forever(self) -> None:
        """Sweep until cancelled; if the store does not answer, wait for it."""
        while True:
            try:
                await self.sweep()
            except PathPatchingError as error:
                log.warning("the reaper waits: %s", error)
            except Exception:
                log.exception("a sweep of the reaper failed")
            await asyncio.sleep(self._period_s)
