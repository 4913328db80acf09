"""Nudges to workers: tiny Celery messages that say "there is work for this model", sent by task name."""

import logging
import queue
import threading
import time
from collections import Counter

from celery import Celery
from kombu.entity import Queue

from job_store.broker import TASK, broker_settings, queue_of

MOST_NUDGES = 4
"""Per model and round: workers nudge one another while work is queued, so a few messages wake them all."""
WINDOW_S = 0.1
MOST_PER_WINDOW = 20
"""In a burst, further nudges wait for the next window and melt into a few: each costs most of a millisecond."""

LOGGER = logging.getLogger("service.jobs.queue")


class Publisher:
    """Publishes in a thread of its own, so that a slow broker never delays a request.

    A nudge that cannot be sent is dropped with a warning: the reaper publishes again for whatever has no message.
    """

    def __init__(self, redis_url: str) -> None:
        self._celery = Celery("service", set_as_current=False)
        self._celery.conf.update(broker_settings(redis_url))
        self._celery.conf.update(task_ignore_result=True, task_publish_retry=False, task_serializer="json")
        self._wanted: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._window_began = 0.0
        self._sent = 0
        self._thread = threading.Thread(target=self._publish_all, name="nudges", daemon=True)

    def start(self) -> None:
        """Begin to publish, in a thread of its own."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Publish what is left, for so long at most."""
        self._wanted.put(None)
        self._thread.join(timeout_s)

    def publish(self, model: str, count: int) -> None:
        """Have up to ``count`` messages sent to the model's queue."""
        self._wanted.put((model, count))

    async def nudge(self, model: str, count: int) -> None:
        """The same, as the reaper calls it."""
        self.publish(model, count)

    def _publish_all(self) -> None:
        while (first := self._wanted.get()) is not None:
            counts = Counter({first[0]: first[1]})
            while not self._wanted.empty():
                following = self._wanted.get()
                if following is None:
                    return
                counts[following[0]] += following[1]
            for model, count in counts.items():
                self._make_room()
                self._send(model, min(count, MOST_NUDGES))

    def _make_room(self) -> None:
        """Wait for the next window where this one is full."""
        now = time.monotonic()
        if now - self._window_began >= WINDOW_S:
            self._window_began, self._sent = now, 0
        elif self._sent >= MOST_PER_WINDOW:
            time.sleep(self._window_began + WINDOW_S - now)
            self._window_began, self._sent = time.monotonic(), 0

    def _send(self, model: str, count: int) -> None:
        name = queue_of(model)
        queue = Queue(name, routing_key=name)  # type: ignore[no-untyped-call]
        try:
            for _ in range(count):
                self._sent += 1
                self._celery.send_task(TASK, args=[model], queue=queue, ignore_result=True, retry=False)
        except Exception as exc:
            # Whatever the broker's client raises here, the job is recorded and the reaper will publish for it.
            LOGGER.warning("nudge not published", extra={"model": model, "reason": f"{type(exc).__name__}: {exc}"})
