"""The one Celery task, and the life of the processes that run it."""

import logging
import os
import signal
from typing import TYPE_CHECKING, Any

from billiard.process import current_process
from celery import signals

from api_schemas.errors import PathPatchingError
from job_store.broker import TASK, queue_of
from runtime import logs, tracing
from worker.celery_app import app, settings
from worker.process.presence import Presence

if TYPE_CHECKING:
    from worker.process.child import Child

log = logging.getLogger(__name__)

MOST_NUDGES = 2
"""Per claim: each worker that finds work wakes two more, so that all are awake after a few steps."""

_child: "Child | None" = None
_presence = Presence(settings)


@app.task(name=TASK)  # type: ignore[untyped-decorator]
def run_shard(model: str) -> None:
    """Claim the model's next shard and run it. The message is only a nudge: without a shard there is nothing to do."""
    assert _child is not None
    try:
        held = _child.claim(model)
        if held is None:
            return
        nudge(model, held.nudges)
        handed = _child.work_off(held)
        nudge(model, handed.nudges)
    except PathPatchingError as error:
        log.warning("a nudge for %s came to nothing: %s", model, error)


def nudge(model: str, wanted: int) -> None:
    """Wake other workers; a message that cannot be sent is replaced by the reaper's."""
    try:
        for _ in range(min(wanted, MOST_NUDGES)):
            app.send_task(TASK, args=[model], queue=queue_of(model), ignore_result=True, retry=False)
    except Exception as error:
        log.warning("a nudge for %s was not published: %s", model, type(error).__name__)


@signals.setup_logging.connect  # type: ignore[untyped-decorator]
def set_up_logging(**_: Any) -> None:
    """In place of Celery's own. It tells of every message; a message is only a nudge, and shards tell of themselves."""
    logs.configure(settings.log_level, settings.log_format)
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]
def start_child(**_: Any) -> None:
    """In the child, after the fork: torch is imported here and nowhere earlier. A child that cannot start ends all."""
    global _child
    try:
        from worker.process.child import Child

        _child = Child(settings, current_process().index)
        _child.start()
    except Exception as error:
        log.critical("the worker cannot start: %s: %s", type(error).__name__, error)
        os.kill(os.getppid(), signal.SIGQUIT)


@signals.worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def end_child(**_: Any) -> None:
    """In the child, at its end."""
    tracing.flush()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def enter(**_: Any) -> None:
    """In the main process."""
    _presence.start()


@signals.task_received.connect  # type: ignore[untyped-decorator]
def hear(**_: Any) -> None:
    """In the main process, at every message."""
    _presence.note_message()


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def wind_down(how: str, **_: Any) -> None:
    """In the main process, on SIGTERM."""
    if how == "Warm":
        _presence.hand_back_after_grace()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def leave(**_: Any) -> None:
    """In the main process, at its end."""
    _presence.leave()
