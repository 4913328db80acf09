"""One subscription per process wakes all waiting requests whose job has changed."""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator

from redis.exceptions import RedisError

from job_store.store import ANSWER_S, AsyncJobStore

log = logging.getLogger(__name__)
CHANNEL = "pp:changes"
GOES_ON = "+"
"""After the id of a job that changed and has not ended."""
QUIET_S = 5.0
"""After this long without a message, the connection is tested."""


class Watch:
    """Notices changes of one job, or only its end, from the watch's own creation on."""

    def __init__(self, end_only: bool) -> None:
        self.end_only = end_only
        self._changed = asyncio.Event()

    def notice(self) -> None:
        """Record that the job changed."""
        self._changed.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a change since the last call; False if none came in time. The caller may already know the change."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


class ChangeFeed:
    """Passes the messages of one pub/sub connection to all watches; after a lost connection it wakes them all."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._watches: dict[str, set[Watch]] = defaultdict(set)
        self.is_ending = False
        """Whether the process is about to end, so that no request may wait any longer."""

    def end_waits(self) -> None:
        """Wake all watches, because the process is about to end."""
        self.is_ending = True
        self.wake_all()

    @contextlib.asynccontextmanager
    async def watch(self, job_id: str, *, end_only: bool = False) -> AsyncIterator[Watch]:
        """A watch on a job. Open it before you read the job, so that no change is missed."""
        watch = Watch(end_only)
        self._watches[job_id].add(watch)
        try:
            yield watch
        finally:
            self._watches[job_id].discard(watch)
            if not self._watches[job_id]:
                del self._watches[job_id]

    def _wake(self, message: str) -> None:
        """Tell the watches of a job; whatever is not said to go on may be its end."""
        job_id = message.removesuffix(GOES_ON)
        for watch in self._watches.get(job_id, ()):
            if message == job_id or not watch.end_only:
                watch.notice()

    def wake_all(self) -> None:
        """Have everybody look again, at their job and at themselves."""
        for job_id in list(self._watches):
            self._wake(job_id)

    async def listen_forever(self) -> None:
        """Listen until cancelled, even if the store does not answer yet."""
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("the feed of changes was interrupted: %s", type(error).__name__)
            self.wake_all()
            await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        """Read until the connection breaks. After a timeout it sends a ping, which detects a half-open connection."""
        async with self._store.client.pubsub() as subscription:
            async with asyncio.timeout(ANSWER_S):
                await subscription.subscribe(CHANNEL)
            self.wake_all()
            quiet = 0
            while quiet < 3:
                async with asyncio.timeout(QUIET_S + ANSWER_S):
                    message = await subscription.get_message(timeout=QUIET_S)
                    quiet = 0 if message is not None else quiet + 1
                    if message is None:
                        await subscription.ping()
                    elif message["type"] == "message":
                        self._wake(message["data"].decode())
