"""Erases blobs that no job needs any more: what ended or was deleted within seconds, what a crash left later."""

import asyncio
import logging
import time
from collections.abc import Sequence

from api_schemas.errors import PathPatchingError
from blob_store.place import BlobStore
from job_store.script import Step
from job_store.store import AsyncJobStore

log = logging.getLogger(__name__)
PERIOD_S = 2.0
ORPHANS_S = 900.0
"""Between two looks for blobs that no job knows; what was one in two looks is erased, whatever the clocks say."""
LEAST_AGE_S = 10.0
"""A broker that loses its latest seconds, with its power, must find the inputs of jobs that it takes for unfinished."""
AT_ONCE = 200


def _names(reply: list[bytes]) -> tuple[str, ...]:
    return tuple(name.decode() for name in reply)


def garbage(least_age_s: float = LEAST_AGE_S, limit: int = AT_ONCE) -> Step[tuple[str, ...]]:
    """Prefixes of blobs that nothing has needed for some time, oldest first."""
    return Step("blob_garbage", (round(least_age_s * 1000), limit), _names)


def erased(prefixes: Sequence[str]) -> Step[int]:
    """Record that the blobs of these prefixes are gone."""
    return Step("blobs_erased", tuple(prefixes), int)


def orphans(prefixes: Sequence[str]) -> Step[tuple[str, ...]]:
    """Of these prefixes, those that no job on record needs."""
    return Step("blob_orphans", tuple(prefixes), _names)


class Sweeper:
    """Each service process may run one; they do no harm to one another."""

    def __init__(self, store: AsyncJobStore, blobs: BlobStore | None, orphans_s: float = ORPHANS_S) -> None:
        self._store = store
        self._blobs = blobs
        self._orphans_s = orphans_s
        self._suspects: frozenset[str] = frozenset()
        self._looked_at = time.monotonic()

    async def sweep(self, least_age_s: float = LEAST_AGE_S) -> int:
        """Erase garbage that replicas know of, too; the number of prefixes."""
        assert self._blobs is not None
        found = 0
        while prefixes := await self._store.run(garbage(least_age_s)):
            await self._store.replicate()
            await self._erase(self._blobs, prefixes)
            await self._store.run(erased(prefixes))
            found += len(prefixes)
        return found

    async def sweep_orphans(self) -> frozenset[str]:
        """Erase what was an orphan the last time and still is; returns it."""
        assert self._blobs is not None
        listed = [
            name
            for kind in ("work", "results")
            for name in await self._store.in_blob_thread(self._blobs.prefixes, kind)
        ]
        now: set[str] = set()
        for first in range(0, len(listed), AT_ONCE):
            found = await self._store.run(orphans(listed[first : first + AT_ONCE]))
            now.update(found)
        doomed = self._suspects & now
        self._suspects = frozenset(now - doomed)
        await self._erase(self._blobs, sorted(doomed))
        return doomed

    async def _erase(self, blobs: BlobStore, prefixes: Sequence[str]) -> None:
        for prefix in prefixes:
            await self._store.in_blob_thread(blobs.erase, prefix)

    async def run_forever(self) -> None:
        """Sweep until cancelled; wait for a store or a bucket that does not answer."""
        while self._blobs is not None:
            try:
                await self.sweep()
                if time.monotonic() - self._looked_at > self._orphans_s:
                    self._looked_at = time.monotonic()
                    if doomed := await self.sweep_orphans():
                        log.warning("blobs that no job knew were erased: %d", len(doomed))
            except PathPatchingError as error:
                log.warning("the sweeper of blobs waits: %s", error)
            except Exception:
                log.exception("a sweep of blobs failed")
            await asyncio.sleep(PERIOD_S)
