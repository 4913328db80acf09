"""The two stores, synchronous and asynchronous, which send a step to Redis and read its reply."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import redis
import redis.asyncio
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from api_schemas.errors import PathPatchingError, StoreFull, StoreUnavailable
from blob_store.place import BlobStore
from job_store import connections
from job_store.address import Sentinels
from job_store.contents import Contents, has_references
from job_store.kept_connections import KeptConnections
from job_store.script import Script, Step
from job_store.shared_way import SharedWay

T = TypeVar("T")
UNREACHABLE = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError)
ANSWER_S = 5.0
"""Time limit for one answer."""
LOOK_S = 1.0
BLOB_THREADS = 8
REPLICATION_MS = 3000


def translated(error: Exception) -> Exception:
    """Our error for one that the Redis client raised."""
    if isinstance(error, OutOfMemoryError) or "OOM" in str(error):
        return StoreFull(
            "The job store's memory is full. Delete jobs, wait for results to expire, or give it more memory."
        )
    if isinstance(error, ResponseError) and str(error).startswith("MISCONF"):
        return StoreFull("The job store cannot write to its disk. Free some space there.")
    if isinstance(error, UNREACHABLE) or str(error).startswith("NOREPLICAS"):
        return StoreUnavailable(f"The job store does not answer ({type(error).__name__}). Try again in a moment.")
    return error


def blob_place(name: str = "") -> Step[bytes | None]:
    """The name of the blob store's place on record, which this one becomes where there is none."""
    return Step("blob_place", (name,), lambda reply: reply)


class JobStore:
    """Runs steps over blocking connections, for workers and the command line."""

    def __init__(self, client: "redis.Redis", blobs: BlobStore | None = None) -> None:
        self.client = client
        self.contents = Contents(blobs)

    @classmethod
    def connect(cls, url: str, blobs: BlobStore | None = None) -> "JobStore":
        """A store that connects on first use."""
        return cls(connections.blocking(url, ANSWER_S), blobs)

    def run(self, step: Step[T]) -> T:
        """Run the step.

        Raises:
            StoreUnavailable: No answer.
            StoreFull: The store has no memory or disk left.
        """
        arguments = self.put(step)
        try:
            reply = self._reply(step, arguments)
            return step.read(self.fetched(reply) if step.fetches else reply)
        except PathPatchingError as error:
            self.contents.withdraw(step.contents, error)
            raise

    def _reply(self, step: Step[T], arguments: list[Any]) -> Any:
        attempts = 2 if step.repeatable else 1
        for attempt in range(attempts):
            try:
                return self._send(step.script, arguments)
            except (RedisError, OSError) as error:
                if attempt == attempts - 1 or not isinstance(error, ConnectionError):
                    raise translated(error) from error
        raise AssertionError("a step is sent at least once")

    def put(self, step: Step[T]) -> list[Any]:
        """The step's arguments, large contents in the blob store."""
        if any(map(self.contents.is_for_blobs, step.contents)):
            self._find_place()
        return [self.contents.stored(argument) for argument in step.arguments]

    def fetched(self, reply: Any) -> Any:
        """The reply with contents in place of references to them.

        Raises:
            DamagedData: A blob is missing.
            StoreUnavailable: The blob store does not answer.
        """
        if not has_references(reply):
            return reply
        self._find_place()
        return [self.contents.fetched(part) for part in reply]

    def _find_place(self) -> None:
        if not self.contents.is_right_place:
            known = self.run(blob_place())
            self.run(blob_place(self.contents.check_place(known)))
            self.contents.is_right_place = True

    def _send(self, script: Script, arguments: list[Any]) -> object:
        try:
            return self.client.execute_command("EVALSHA", script.sha1, 0, *arguments)  # type: ignore[no-untyped-call]
        except NoScriptError:
            return self.client.execute_command("EVAL", script.source, 0, *arguments)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class AsyncJobStore:
    """Runs steps over asyncio connections, for the service.

    We set the time limit of an answer ourselves. With its own limit, redis-py sends by ``asyncio.wait_for``, which in
    Python 3.11 loses a cancellation that comes as the send ends: https://github.com/python/cpython/issues/86296
    """

    def __init__(self, client: "redis.asyncio.Redis", blobs: BlobStore | None = None) -> None:
        self.client = client
        self.contents = Contents(blobs)
        self.replicas = 0
        """So many must have a write before it is answered."""
        self._blob_threads = ThreadPoolExecutor(BLOB_THREADS, thread_name_prefix="blobs")
        self._room_until = 0.0
        self._kept = KeptConnections(client)
        self._shared_way = SharedWay(self._kept, ANSWER_S)

    @classmethod
    def connect(cls, url: str, max_connections: int = 64, blobs: BlobStore | None = None) -> "AsyncJobStore":
        """A store that connects on first use."""
        found = cls(connections.asynchronous(url, max_connections), blobs)
        sentinels = Sentinels.of(url)
        found.replicas = 0 if sentinels is None else sentinels.replicas
        return found

    async def run(self, step: Step[T]) -> T:
        """Run the step.

        Raises:
            StoreUnavailable: No answer.
            StoreFull: The store has no memory or disk left.
        """
        arguments = await self._put(step)
        try:
            reply = await self._reply(step, arguments)
            return step.read(await self._fetched(reply) if step.fetches else reply)
        except PathPatchingError as error:
            if step.contents:
                await self.in_blob_thread(self.contents.withdraw, step.contents, error)
            raise

    async def _reply(self, step: Step[T], arguments: list[Any]) -> Any:
        attempts = 2 if step.repeatable else 1
        for attempt in range(attempts):
            try:
                return await self._sent(self._way_of(step), step.script, arguments)
            except (RedisError, OSError) as error:
                if attempt == attempts - 1 or not isinstance(error, ConnectionError):
                    raise translated(error) from error
        raise AssertionError("a step is sent at least once")

    def _way_of(self, step: Step[T]) -> Callable[..., Awaitable[object]]:
        if step.shares_way:
            return self._shared_way.answer
        return self._kept_answer if step.repeatable else self._answer

    async def _kept_answer(self, *command: str | bytes | float) -> object:
        """Over a connection that may have broken since, so that the command must be repeatable."""
        async with asyncio.timeout(ANSWER_S):
            (found,) = await self._kept.answers([command])
        if isinstance(found, Exception):
            raise found
        return found

    async def _put(self, step: Step[T]) -> list[Any]:
        if not any(map(self.contents.is_for_blobs, step.contents)):
            return [self.contents.stored(argument) for argument in step.arguments]
        await self._find_place()
        return await self.in_blob_thread(lambda: [self.contents.stored(argument) for argument in step.arguments])

    async def _fetched(self, reply: Any) -> Any:
        if not has_references(reply):
            return reply
        await self._find_place()
        return await self.in_blob_thread(lambda: [self.contents.fetched(part) for part in reply])

    async def _find_place(self) -> None:
        if not self.contents.is_right_place:
            known = await self.run(blob_place())
            await self.run(blob_place(await self.in_blob_thread(self.contents.check_place, known)))
            self.contents.is_right_place = True

    async def _sent(self, answer: Callable[..., Awaitable[object]], script: Script, arguments: list[Any]) -> object:
        try:
            return await answer("EVALSHA", script.sha1, 0, *arguments)
        except NoScriptError:
            return await answer("EVAL", script.source, 0, *arguments)

    async def _answer(self, *command: str | bytes | float) -> object:
        async with asyncio.timeout(ANSWER_S):
            return await self.client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def in_blob_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something that waits for the blob store; what waits for others is not held up by one that hangs."""
        return await asyncio.get_running_loop().run_in_executor(self._blob_threads, partial(work, *arguments))

    async def replicate(self) -> None:
        """Return once everything answered before this call is on as many replicas as are wanted.

        Raises:
            StoreUnavailable: It is not, for some seconds.
        """
        if not self.replicas:
            return
        try:
            async with asyncio.timeout(ANSWER_S), self.client.pipeline(transaction=False) as pipeline:
                pipeline.set("pp:replicated", 1)
                pipeline.execute_command("WAIT", self.replicas, REPLICATION_MS)
                reached = (await pipeline.execute())[1]
        except (RedisError, OSError) as error:
            raise translated(error) from error
        if reached < self.replicas:
            raise StoreUnavailable(
                f"Only {reached} of {self.replicas} replicas of the job store follow, so what you sent may be lost; it "
                "may also have been accepted. Send it again with the same Idempotency-Key."
            )

    async def check_room(self) -> None:
        """Look whether the blob store has room for new jobs, once a second.

        Raises:
            StoreFull: It has not.
            StoreUnavailable: Its folder cannot be looked at.
        """
        if self.contents.blobs is not None and time.monotonic() > self._room_until:
            await self.in_blob_thread(self.contents.blobs.check_room)
            self._room_until = time.monotonic() + LOOK_S

    async def check_blobs(self) -> str:
        """Where large contents are, after a look at it; raises what ``check_room`` raises, and ``StoreUnavailable``."""
        if self.contents.blobs is None:
            return "in the job store (PATHPATCH_BLOBS is not set)"
        await self._find_place()
        await self.in_blob_thread(self.contents.blobs.check)
        return f"in a {self.contents.blobs.kind}"

    async def ping(self) -> None:
        """Check that the store answers.

        Raises:
            StoreUnavailable: It does not.
        """
        try:
            await self._answer("PING")
        except (RedisError, OSError) as error:
            raise translated(error) from error

    async def close(self) -> None:
        """Close the connections."""
        self._blob_threads.shutdown(wait=False, cancel_futures=True)
        await self.client.aclose()
