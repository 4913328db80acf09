"""``python -m worker``: one Celery worker with one child process per device."""

import os
import sys
import warnings

from celery.apps import worker as celery_worker
from celery.platforms import SecurityWarning
from celery.worker import state

from job_store.broker import queue_of
from worker.settings import BadSetting

BAD_USAGE = 2


def _leave_unsaid(*_: object) -> None:
    """In place of lines that Celery prints past the log on a signal; ``Presence`` logs the end."""


def main() -> int:
    """Run until SIGTERM or SIGINT; settings come from the environment. The exit code is 0 only after a clean end.

    Threads of one product that wait for each other sleep instead of spinning, unless ``OMP_WAIT_POLICY`` says
    otherwise: where other processes use the same cores, spinning made a job of many small products ten times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is imported
    try:
        from worker.celery_app import app, settings
    except BadSetting as exc:
        sys.stderr.write(f"worker: {exc}\n")
        return BAD_USAGE
    warnings.simplefilter(
        "ignore", SecurityWarning
    )  # about pickle as root: messages are JSON, and only JSON is accepted
    celery_worker.safe_say = _leave_unsaid
    worker = app.Worker(
        hostname=settings.full_name,
        pool_cls="prefork",
        queues=[queue_of(model) for model in settings.serves],
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or state.should_terminate or 0)


if __name__ == "__main__":
    sys.exit(main())
