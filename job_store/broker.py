"""Celery settings that service and workers share. A message says only that a model has work."""

from typing import Any
from urllib.parse import quote

from redis.backoff import NoBackoff
from redis.retry import Retry

from job_store.address import Sentinels, verified

TASK = "worker.tasks.run_shard"
QUEUE_PREFIX = "patch."


def queue_of(model: str) -> str:
    """Name of a model's queue."""
    return f"{QUEUE_PREFIX}{model}"


def broker_settings(redis_url: str) -> dict[str, Any]:
    """Celery settings of the service and of the workers."""
    sentinels = Sentinels.of(redis_url)
    return {
        "broker_url": verified(redis_url) if sentinels is None else _sentinel_urls(sentinels),
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_create_missing_queues": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "ack_emulation": False,  # no notes in Redis of messages under way: a lost nudge is replaced by the reaper
            "socket_timeout": 10.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 4,  # a dead connection is replaced within about ten seconds
            **({} if sentinels is None else _primary(sentinels)),
        },
    }


def _primary(sentinels: Sentinels) -> dict[str, Any]:
    return {"master_name": sentinels.primary, "sentinel_kwargs": sentinels.options(Retry(NoBackoff(), 0))}


def _sentinel_urls(sentinels: Sentinels) -> str:
    """As kombu wants them: one URL for each, with the primary's credentials."""
    login = ""
    if sentinels.password:
        login = f"{quote(sentinels.username or '', safe='')}:{quote(sentinels.password, safe='')}@"
    hosts = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in sentinels.hosts)
    return ";".join(f"sentinel://{login}{host}/{sentinels.db}" for host in hosts)
