"""Workers as their heartbeats describe them, and their measured speeds."""

import json
from collections.abc import Sequence
from typing import Any

from api_schemas.jobs import WorkerInfo
from job_store.records import pairs, when
from job_store.script import Step

ANOTHER_KEYS_JOB = "a job"
"""Shown in place of a job that belongs to another API key."""


def beat(worker: str, description: dict[str, Any], ttl_s: float) -> Step[int]:
    """List a worker as alive for ``ttl_s``. Returns the store's time in ms.

    Args:
        description: The fields of ``WorkerInfo`` except ``id`` and ``seen_at``, and ``is_loading``.
    """
    return Step("beat", (worker, json.dumps(description), round(ttl_s * 1000)), int)


def keep_listed(worker: str, ttl_s: float) -> Step[bool]:
    """Keep a worker on the list with its last description; False if it is not on the list."""
    return Step("keep_listed", (worker, round(ttl_s * 1000)), bool)


def waiting_messages(worker: str, models: Sequence[str]) -> Step[int]:
    """Number of messages that an idle worker could take; 0 for a worker that loads a model or runs a shard."""
    return Step("waiting_messages", (worker, *models), int)


def leave(worker: str) -> Step[int]:
    """Remove a stopping worker from the list."""
    return Step("leave", (worker,), int)


def _public(description: bytes, is_seen: int) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(description)
    fields.pop("is_loading", None)
    if not is_seen and fields.get("running"):
        fields["running"] = ANOTHER_KEYS_JOB
    return fields


def list_workers(owner: str | None = None) -> Step[tuple[WorkerInfo, ...]]:
    """The live workers. Only jobs of ``owner`` are named; without an owner, all."""

    def read(reply: list[Any]) -> tuple[WorkerInfo, ...]:
        return tuple(
            WorkerInfo(id=name.decode(), seen_at=when(int(seen_ms)), **_public(description, is_seen))
            for name, description, seen_ms, is_seen in reply
        )

    return Step("list_workers", (owner or "",), read)


def rates(model: str, least_s: float = 0.5) -> Step[dict[str, float]]:
    """Floating-point operations per second of each device, over its latest minutes of work.

    Args:
        least_s: Devices with less measured work are left out, because their speed is too uncertain.
    """
    return Step("rates", (model, least_s), lambda flat: {name: float(rate) for name, rate in pairs(flat).items()})
