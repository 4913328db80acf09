"""Celery messages as the service sends them."""

from typing import Any

from celery import Celery
from kombu.entity import Queue

from job_store.broker import TASK, broker_settings, queue_of


def nudge(
    redis_url: str, model: str, number: int = 1, arguments: list[Any] | None = None, serializer: str = "json"
) -> None:
    """Tell the model's workers, so many times, that there is work; or send them something else."""
    celery = Celery("nudges", set_as_current=False)
    celery.conf.update(broker_settings(redis_url))
    queue = Queue(queue_of(model), routing_key=queue_of(model))
    for _ in range(number):
        celery.send_task(TASK, args=arguments or [model], queue=queue, ignore_result=True, serializer=serializer)
    celery.close()
