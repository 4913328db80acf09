"""Celery settings that service and workers share. A message says only that a model has work."""

from typing import Any

TASK = "worker.tasks.run_shard"
QUEUE_PREFIX = "patch."


def queue_of(model: str) -> str:
    """Name of a model's queue."""
    return f"{QUEUE_PREFIX}{model}"


def broker_settings(redis_url: str) -> dict[str, Any]:
    """Celery settings of the service and of the workers."""
    return {
        "broker_url": redis_url,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_create_missing_queues": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": 3600,
            "socket_timeout": 10.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 4,  # a dead connection is replaced within about ten seconds
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        },
    }
