"""The two stores, synchronous and asynchronous, which send a step to Redis and read its reply."""

import asyncio
from typing import TypeVar

import redis
import redis.asyncio
from redis.backoff import NoBackoff
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
from redis.retry import Retry

from api_schemas.errors import StoreFull, StoreUnavailable
from job_store.script import Step

T = TypeVar("T")
UNREACHABLE = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OSError)
ANSWER_S = 5.0
"""Time limit for one answer."""
CONNECTION = {
    "socket_connect_timeout": 2.0,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "protocol": 2,
}


def translated(error: Exception) -> Exception:
    """Our error for one that the Redis client raised."""
    if isinstance(error, OutOfMemoryError) or "OOM" in str(error):
        return StoreFull(
            "The job store's memory is full. Delete jobs, wait for results to expire, or give it more memory."
        )
    if isinstance(error, ResponseError) and str(error).startswith("MISCONF"):
        return StoreFull("The job store cannot write to its disk. Free some space there.")
    if isinstance(error, UNREACHABLE):
        return StoreUnavailable(f"The job store does not answer ({type(error).__name__}). Try again in a moment.")
    return error


class JobStore:
    """Runs steps over blocking connections, for workers and the command line."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client

    @classmethod
    def connect(cls, url: str) -> "JobStore":
        """A store that connects on first use."""
        return cls(redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=ANSWER_S, **CONNECTION))

    def run(self, step: Step[T]) -> T:
        """Run the step.

        Raises:
            StoreUnavailable: No answer.
            StoreFull: The store has no memory or disk left.
        """
        attempts = 2 if step.repeatable else 1
        for attempt in range(attempts):
            try:
                return step.read(self._send(step))
            except (RedisError, OSError) as error:
                if attempt == attempts - 1 or not isinstance(error, ConnectionError):
                    raise translated(error) from error
        raise AssertionError("a step is sent at least once")

    def _send(self, step: Step[T]) -> object:
        script = step.script
        try:
            return self.client.execute_command("EVALSHA", script.sha1, 0, *step.arguments)  # type: ignore[no-untyped-call]
        except NoScriptError:
            return self.client.execute_command("EVAL", script.source, 0, *step.arguments)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class AsyncJobStore:
    """Runs steps over asyncio connections, for the service.

    We set the time limit of an answer ourselves. With its own limit, redis-py sends by ``asyncio.wait_for``, which in
    Python 3.11 loses a cancellation that comes as the send ends: https://github.com/python/cpython/issues/86296
    """

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self.client = client

    @classmethod
    def connect(cls, url: str, max_connections: int = 64) -> "AsyncJobStore":
        """A store that connects on first use."""
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
            max_connections=max_connections,
            socket_timeout=None,
            **CONNECTION,
        )
        return cls(redis.asyncio.Redis.from_pool(pool))

    async def run(self, step: Step[T]) -> T:
        """Run the step.

        Raises:
            StoreUnavailable: No answer.
            StoreFull: The store has no memory or disk left.
        """
        attempts = 2 if step.repeatable else 1
        for attempt in range(attempts):
            try:
                return step.read(await self._send(step))
            except (RedisError, OSError) as error:
                if attempt == attempts - 1 or not isinstance(error, ConnectionError):
                    raise translated(error) from error
        raise AssertionError("a step is sent at least once")

    async def _send(self, step: Step[T]) -> object:
        script = step.script
        try:
            return await self._answer("EVALSHA", script.sha1, 0, *step.arguments)
        except NoScriptError:
            return await self._answer("EVAL", script.source, 0, *step.arguments)

    async def _answer(self, *command: str | bytes | float) -> object:
        async with asyncio.timeout(ANSWER_S):
            return await self.client.execute_command(*command)  # type: ignore[no-untyped-call]

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
        await self.client.aclose()
