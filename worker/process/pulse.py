"""The heartbeat of a worker's child: it keeps the shard's lease and the worker on the list, and stops lost work."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from api_schemas.errors import PathPatchingError
from job_store.shards import Claim, heartbeat
from job_store.store import JobStore
from job_store.workers import beat
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)

STOP_SIGNAL = signal.SIGUSR2
"""Interrupts the shard of a child; from the main process it means: hand it back."""
TTL_BEATS = 5


class Interrupted(BaseException):
    """Raised into a computation that is to stop: cancelled, lost to another worker, or to be handed back."""


class Pulse:
    """Beats every ``heartbeat_s`` in a thread, whatever the main thread computes."""

    def __init__(
        self, settings: WorkerSettings, store: JobStore, name: str, describe: Callable[[], dict[str, Any]]
    ) -> None:
        self._settings = settings
        self._store = store
        self._name = name
        self._describe = describe
        self._held: Claim | None = None
        self._lost: Claim | None = None
        self._is_interruptible = False

    def start(self) -> None:
        """Start to beat; call it in the main thread of the child."""
        signal.signal(STOP_SIGNAL, self._on_stop_signal)
        threading.Thread(target=self._beat_forever, name="pulse", daemon=True).start()

    @contextmanager
    def holding(self, held: Claim) -> Iterator[None]:
        """Keep a claim's lease within the block."""
        self._held = held
        try:
            yield
        finally:
            self._held = None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let the block be stopped by ``Interrupted``."""
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False

    def _on_stop_signal(self, number: int, frame: FrameType | None) -> None:
        """Runs in the main thread, so that nothing here changes meanwhile; what is held may not be what was lost."""
        lost, self._lost = self._lost, None
        if self._is_interruptible and lost in (None, self._held):
            self._is_interruptible = False
            raise Interrupted

    def _beat_forever(self) -> None:
        wait = threading.Event()
        while True:
            self.try_to_beat()
            wait.wait(self._settings.heartbeat_s)

    def try_to_beat(self) -> None:
        """One heartbeat, or a line in the log that says why not."""
        try:
            self._beat()
        except PathPatchingError as error:
            log.warning("no heartbeat: %s", error)
        except Exception:
            log.exception("a heartbeat failed")

    def _beat(self) -> None:
        """One heartbeat: the lease first, then the list of workers."""
        held = self._held
        state = "held" if held is None else self._store.run(heartbeat(held, self._settings.lease_s))
        if held is not None and state != "held" and self._held is held and self._is_interruptible:
            log.warning("%s is %s: stopping", held.name, state)
            self._lost = held
            signal.pthread_kill(threading.main_thread().ident or 0, STOP_SIGNAL)
        description = {**self._describe(), "running": held.name if held else None}
        self._store.run(beat(self._name, description, TTL_BEATS * self._settings.heartbeat_s))
