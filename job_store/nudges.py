"""Messages that wake workers. The step that makes work pushes them; workers receive them as any message of Celery's."""

import json
from functools import cache

from celery import Celery
from kombu.entity import Queue

from job_store.broker import TASK, queue_of
from job_store.script import Step

OWN_ID = "0" * 32
"""Stands in a message for the id that the script gives it."""


@cache
def message_for(model: str) -> str:
    """What Celery sends to the model's workers, as kombu keeps it in Redis: a list element of the queue's name."""
    celery = Celery("nudges", broker="memory://", set_as_current=False)
    celery.conf.update(task_serializer="json", task_create_missing_queues=False)
    name = queue_of(model)
    with celery.connection_for_write() as connection:
        channel = connection.channel()
        celery.send_task(
            TASK,
            args=[model],
            task_id=OWN_ID,
            queue=Queue(name, routing_key=name),  # type: ignore[no-untyped-call]
            ignore_result=True,
            producer=celery.amqp.Producer(channel),
        )
        message = channel._get(name)
    message["properties"]["delivery_tag"] = OWN_ID
    return json.dumps(message)


def nudge(model: str) -> Step[int]:
    """Push a message for each claimable shard that has none, up to a few; how many were pushed."""
    return Step("nudge", (model, message_for(model)), int)
