"""The outbox of webhooks: one delivery per job that ended and asked for it."""

from dataclasses import dataclass
from typing import Any

from job_store.script import Step


@dataclass(frozen=True)
class Delivery:
    """One announcement to make now."""

    id: str
    """Stays the same over all attempts."""
    job_id: str
    url: str
    attempt: int
    created_ms: int


@dataclass(frozen=True)
class DeadDelivery:
    """One announcement that was given up."""

    id: str
    job_id: str
    url: str
    attempts: int
    error: str
    died_ms: int


def _delivery_id(job_id: str) -> str:
    return f"msg_{job_id.removeprefix('job_')}"


def _job_id(delivery_id: str) -> str:
    return f"job_{delivery_id.removeprefix('msg_')}"


def due(limit: int = 20, lease_s: float = 60.0) -> Step[tuple[Delivery, ...]]:
    """Take deliveries whose time has come; those not settled within ``lease_s`` become due again."""

    def read(reply: list[Any]) -> tuple[Delivery, ...]:
        return tuple(
            Delivery(_delivery_id(job.decode()), job.decode(), url.decode(), int(attempt), int(created_ms))
            for job, url, attempt, created_ms in reply
        )

    return Step("due_webhooks", (limit, round(lease_s * 1000)), read, repeatable=False)


def delivered(delivery_id: str) -> Step[None]:
    """The receiver has it."""
    return Step("delivered", (_job_id(delivery_id),), lambda _: None)


def retry(delivery_id: str, delay_s: float, error: str) -> Step[None]:
    """Try again later."""
    return Step("retry_webhook", (_job_id(delivery_id), round(delay_s * 1000), error), lambda _: None)


def bury(delivery_id: str, error: str) -> Step[None]:
    """Give up; it stays on the list of the dead."""
    return Step("bury_webhook", (_job_id(delivery_id), error), lambda _: None)


def dead(limit: int = 100) -> Step[tuple[DeadDelivery, ...]]:
    """Deliveries that were given up, newest first."""

    def read(reply: list[Any]) -> tuple[DeadDelivery, ...]:
        return tuple(
            DeadDelivery(
                _delivery_id(job.decode()), job.decode(), url.decode(), int(attempts), error.decode(), int(died)
            )
            for job, url, attempts, error, died in reply
        )

    return Step("dead_webhooks", (limit,), read)
