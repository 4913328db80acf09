"""The main process of a worker: it keeps the worker listed, and on SIGTERM has shards handed back in time."""

import logging
import os
import threading
import time

from billiard.process import active_children

from api_schemas.errors import PathPatchingError
from job_store.store import JobStore
from job_store.workers import keep_listed, leave, waiting_messages
from worker.process.pulse import STOP_SIGNAL, TTL_BEATS
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

DEAF_S = 30.0
"""Celery's consumer may be lost for good after trouble with its broker: an idle worker that hears nothing ends."""


def child_name(settings: WorkerSettings, index: int) -> str:
    """Name of one child on the list of workers: the worker's own, with a number where there are several."""
    return settings.full_name if len(settings.devices) == 1 else f"{settings.name}.{index + 1}@{settings.host}"


class Presence:
    """Beats in a thread of the main process, which never computes."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._idle_since = time.monotonic()
        self._names = [child_name(settings, index) for index in range(len(settings.devices))]

    def start(self) -> None:
        """Start to beat."""
        threading.Thread(target=self._beat_until_stopped, name="presence", daemon=True).start()

    def _beat_until_stopped(self) -> None:
        store = JobStore.connect(self._settings.redis_url)
        while not self._stopped.wait(self._settings.heartbeat_s):
            if self._settings.health_file is not None:
                self._settings.health_file.touch()
            try:
                self._beat(store)
            except PathPatchingError as error:
                self.note_message()  # without a broker there is nothing to receive
                log.warning("no heartbeat: %s", error)

    def _beat(self, store: JobStore) -> None:
        for name in self._names:
            store.run(keep_listed(name, TTL_BEATS * self._settings.heartbeat_s))
        if not all(store.run(waiting_messages(name, self._settings.serves)) for name in self._names):
            self.note_message()
        elif time.monotonic() - self._idle_since > DEAF_S:
            log.critical("messages wait, but none has arrived for %g s: this worker ends, to be started again", DEAF_S)
            os._exit(1)

    def note_message(self) -> None:
        """A message has arrived, or there was none to receive."""
        self._idle_since = time.monotonic()

    def hand_back_after_grace(self) -> None:
        """Give running shards the grace time, then stop them; their children hand them back."""
        timer = threading.Timer(self._settings.grace_s, stop_children)
        timer.daemon = True
        timer.start()

    def leave(self) -> None:
        """Take the worker off the list."""
        log.info("%s ends", self._settings.full_name)
        self._stopped.set()
        store = JobStore.connect(self._settings.redis_url)
        try:
            for name in self._names:
                store.run(leave(name))
        except PathPatchingError as error:
            log.warning("could not leave the list of workers: %s", error)
        finally:
            store.close()


def stop_children() -> None:
    """Interrupt whatever the children compute."""
    for child in active_children():
        if child.pid is not None:
            log.warning("handing back the shard of child %d", child.pid)
            os.kill(child.pid, STOP_SIGNAL)
