"""The outbox of webhooks: one delivery per ended job that has a webhook."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job_store.script import Step


@dataclass(frozen=True)
class Delivery:
    """One delivery to make now."""

    id: str
    """The same for all attempts."""
    job_id: str
    url: str
    attempt: int
    created_ms: int
    owner: str
    """Owner of the job."""


@dataclass(frozen=True)
class DeadDelivery:
    """One delivery that was given up."""

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


def due(
    limit: int = 20, lease_s: float = 60.0, *, per_owner: int | None = None, under_way: Mapping[str, int] | None = None
) -> Step[tuple[Delivery, ...]]:
    """Take due deliveries; those not settled within ``lease_s`` become due again.

    Args:
        per_owner: Largest number of one owner's deliveries in progress, including those already in progress.
    """

    def read(reply: list[Any]) -> tuple[Delivery, ...]:
        return tuple(
            Delivery(
                _delivery_id(job.decode()), job.decode(), url.decode(), int(attempt), int(created_ms), owner.decode()
            )
            for job, url, attempt, created_ms, owner in reply
        )

    most = limit if per_owner is None else per_owner
    counts = [word for pair in (under_way or {}).items() for word in pair]
    return Step("due_webhooks", (limit, round(lease_s * 1000), most, *counts), read, repeatable=False)


def delivered(delivery_id: str) -> Step[None]:
    """Record that the receiver has accepted the delivery."""
    return Step("delivered", (_job_id(delivery_id),), lambda _: None)


def retry(delivery_id: str, delay_s: float, error: str) -> Step[None]:
    """Try again later."""
    return Step("retry_webhook", (_job_id(delivery_id), round(delay_s * 1000), error, ""), lambda _: None)


def postpone(delivery_id: str, delay_s: float) -> Step[None]:
    """Try again later. Nothing was sent, so this does not count as an attempt."""
    arguments = (_job_id(delivery_id), round(delay_s * 1000), "", "1")
    return Step("retry_webhook", arguments, lambda _: None, repeatable=False)


def bury(delivery_id: str, error: str) -> Step[None]:
    """Give up the delivery; it stays on the list of dead deliveries."""
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
