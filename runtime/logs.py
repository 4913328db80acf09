"""Structured logs: one JSON object per line, with ids of request, job and API key, and never a prompt."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from runtime.plain import plain

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
key_id: ContextVar[str | None] = ContextVar("key_id", default=None)
job_id: ContextVar[str | None] = ContextVar("job_id", default=None)

REPEAT_S = 60.0
MOST_REMEMBERED = 200
"""Warnings that are compared with the next one."""
_JSON = json.JSONEncoder(default=str, ensure_ascii=False)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


@contextmanager
def about_job(identifier: str) -> Iterator[None]:
    """Mark all log lines of the block with a job's id."""
    token = job_id.set(identifier)
    try:
        yield
    finally:
        job_id.reset(token)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = {"request_id": request_id.get(), "key_id": key_id.get(), "job_id": job_id.get()}
    if record.processName != "MainProcess":
        found["process"] = record.processName
    found |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {name: value for name, value in found.items() if value is not None}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Repeats(logging.Filter):
    """Lets an identical warning through once a minute, so that an outage does not flood the log."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is to be shown."""
        if record.levelno < logging.WARNING:
            return True
        now, line = time.monotonic(), f"{record.name} {record.getMessage()} {_fields(record)}"
        self._said = {known: at for known, at in self._said.items() if now - at < REPEAT_S}
        if len(self._said) > MOST_REMEMBERED:
            self._said.clear()
        return self._said.setdefault(line, now) == now


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line of JSON."""
        entry = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        entry |= {"message": record.getMessage()} | _fields(record)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return plain(_JSON.encode(entry))


class TextFormatter(logging.Formatter):
    """A log record as one readable line."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line for people."""
        message = record.getMessage()
        extra = " ".join(f"{name}={value}" for name, value in _fields(record).items() if str(value) not in message)
        line = plain(f"{_time(record)} {record.levelname.lower():7} {message}  {extra}".rstrip())
        if not record.exc_info:
            return line
        traceback = plain(self.formatException(record.exc_info), "\n").replace(
            "\n", "\n  "
        )  # no line that begins as ours
        return f"{line}\n  {traceback}"


def configure(level: str, style: str) -> None:
    """Send all logs of this process to stderr, in one style."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for chatty in ("httpx", "httpcore", "amqp", "kombu", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
