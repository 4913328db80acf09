"""The Celery app. Its messages only wake a worker, which then claims a shard from the job store."""

import os
from dataclasses import replace

from celery import Celery
from kombu.entity import Queue

from job_store.broker import broker_settings, queue_of
from worker.process.host import every_gpu
from worker.settings import WorkerSettings


def _queue(model: str) -> Queue:
    return Queue(queue_of(model), routing_key=queue_of(model))  # type: ignore[no-untyped-call]


def make_app(settings: WorkerSettings) -> Celery:
    """The app of a worker with these settings.

    Messages are acknowledged early: a lost nudge is replaced by the reaper, whereas a late acknowledgement that fails
    because the broker has died leaves kombu's consumer deaf for good (seen with kombu 5.7: the unacknowledged message
    keeps it from polling, and so from noticing that its connection is gone).
    """
    app = Celery("worker", include=["worker.tasks"])
    app.conf.update(broker_settings(settings.redis_url))
    app.conf.update(
        task_queues=[_queue(model) for model in settings.models],
        task_acks_late=False,
        task_soft_time_limit=settings.shard_limit_s,
        task_time_limit=settings.shard_limit_s + settings.kill_after_s,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_concurrency=len(settings.devices),
        worker_proc_alive_timeout=900.0,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_redirect_stdouts=False,
    )
    return app


_read = WorkerSettings.read(os.environ)
settings = replace(_read, devices=every_gpu(_read.devices))
app = make_app(settings)
