"""``python -m worker``: one Celery worker with one child process per device."""

import warnings

from celery.platforms import SecurityWarning

from job_store.broker import queue_of
from worker.celery_app import app, settings


def main() -> None:
    """Run until SIGTERM or SIGINT; settings come from the environment."""
    warnings.simplefilter(
        "ignore", SecurityWarning
    )  # about pickle as root: messages are JSON, and only JSON is accepted
    queues = ",".join(queue_of(model) for model in settings.serves)
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=prefork",
            f"--hostname={settings.full_name}",
            f"--queues={queues}",
            f"--loglevel={settings.log_level}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


if __name__ == "__main__":
    main()
