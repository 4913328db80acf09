"""Numbers for dashboards, autoscalers and the reaper."""

from dataclasses import dataclass
from typing import Any

from job_store.records import pairs
from job_store.script import Step


@dataclass(frozen=True)
class ModelQueue:
    """Work that waits for the workers of one model."""

    model: str
    jobs: int
    """Jobs that have not started."""
    shards: int
    """Shards that could be claimed now."""
    oldest_wait_s: float
    """How long the oldest of these jobs has waited."""


def queues() -> Step[tuple[ModelQueue, ...]]:
    """The queue of every model that ever had a job."""

    def read(reply: list[Any]) -> tuple[ModelQueue, ...]:
        found = (ModelQueue(name.decode(), int(jobs), int(shards), int(ms) / 1000) for name, jobs, shards, ms in reply)
        return tuple(sorted(found, key=lambda queue: queue.model))

    return Step("queues", (), read)


def jobs_by_state() -> Step[dict[str, int]]:
    """Number of stored jobs in each state."""
    return Step("jobs_by_state", (), lambda reply: {name: int(number) for name, number in pairs(reply).items()})


def totals() -> Step[dict[str, float]]:
    """Counters since the store was created: jobs created, cached and ended, shards done and lost, shard seconds."""
    return Step("totals", (), lambda reply: {name: float(number) for name, number in pairs(reply).items()})
