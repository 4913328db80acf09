"""Connections to the server that ``REDIS_URL`` names; with Sentinels, to whichever is the primary now."""

from typing import Any

import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from job_store.address import Sentinels

CONNECTION: dict[str, Any] = {
    "socket_connect_timeout": 2.0,
    "socket_keepalive": True,
    "health_check_interval": 15,
    "protocol": 2,
}


class _Pool(redis.asyncio.sentinel.SentinelConnectionPool, redis.asyncio.BlockingConnectionPool):
    """Of the primary; who finds no free connection waits for one."""


def blocking(url: str, answer_s: float) -> "redis.Redis":
    """A client that connects on first use.

    Args:
        answer_s: Time limit for one answer.
    """
    once = Retry(NoBackoff(), 0)
    options = {"retry": once, "socket_timeout": answer_s, **CONNECTION}
    if (sentinels := Sentinels.of(url)) is None:
        return redis.Redis.from_url(url, **options)
    manager = redis.sentinel.Sentinel(sentinels.hosts, sentinel_kwargs=sentinels.options(once))  # type: ignore[no-untyped-call]
    client: redis.Redis = manager.master_for(sentinels.primary, **sentinels.login, **options)  # type: ignore[no-untyped-call]
    return client


def asynchronous(url: str, max_connections: int) -> "redis.asyncio.Redis":
    """The same for asyncio, without a time limit of its own for answers."""
    once = redis.asyncio.retry.Retry(NoBackoff(), 0)
    options = {"retry": once, "max_connections": max_connections, "socket_timeout": None, **CONNECTION}
    if (sentinels := Sentinels.of(url)) is None:
        return redis.asyncio.Redis.from_pool(redis.asyncio.BlockingConnectionPool.from_url(url, **options))
    manager = redis.asyncio.sentinel.Sentinel(sentinels.hosts, sentinel_kwargs=sentinels.options(once))  # type: ignore[no-untyped-call]
    pool = _Pool(sentinels.primary, manager, **sentinels.login, **options)  # type: ignore[no-untyped-call]
    return redis.asyncio.Redis.from_pool(pool)
