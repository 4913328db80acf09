"""When a request that did not succeed is sent again, and how long a service that went away is waited for."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pathpatch.client.calls import Answer, Call
from pathpatch.problems import Unreachable

MOST_RETRIES = 5
LONGEST_PAUSE_S = 60.0
OUTAGE_S = 180.0
"""How long a service that was there is waited for where no timeout says otherwise: it is restarted, or upgraded."""
_LONGEST_OUTAGE_PAUSE_S = 2.0
AWAY = frozenset({502, 503, 504})
"""What a service that is away answers, or a proxy for it."""
_TRANSIENT = AWAY | {429}

Clock = Callable[[], float]


@dataclass(frozen=True)
class Lost:
    """A request that got no answer. ``never_left``: the service certainly did not see it."""

    url: str
    why: str
    never_left: bool
    retries: int = MOST_RETRIES
    """How many more attempts are worth while."""
    is_known: bool = False
    """Whether a pathpatch service has answered this client before: it is no wrong address."""


@dataclass(frozen=True)
class Patience:
    """How long to go on trying while a service that was there is away; its jobs go on when it is back."""

    ends_at: float | None = None
    """By the clock; None: ``OUTAGE_S`` after it went away."""
    job_id: str | None = None
    """The job that is waited for."""

    @classmethod
    def of(cls, timeout_s: float | None, since: float, job_id: str | None = None) -> "Patience":
        """That of a caller who waits ``timeout_s`` in all."""
        return cls(None if timeout_s is None else since + timeout_s, job_id)


class Retries:
    """Those of one request: a few; as many as there is patience for, while a service that was there is away."""

    def __init__(self, call: Call[Any], patience: Patience | None, clock: Clock = time.monotonic) -> None:
        self._call = call
        self._patience = patience
        self._clock = clock
        self._attempts = 0
        self._gone_at: float | None = None

    def pause_after(self, outcome: Answer | Lost) -> float | None:
        """Seconds before the next attempt, or None to accept the outcome.

        Raises:
            Unreachable: The service went away and did not come back in time.
        """
        pause_s = self._useful_pause(outcome)
        self._attempts += 1
        if pause_s is None:
            return None
        if self._patience is not None and outcome.is_known and _is_away(outcome):
            return self._outage_pause(outcome, pause_s, self._patience)
        most = outcome.retries if isinstance(outcome, Lost) else MOST_RETRIES
        return pause_s if self._attempts <= most else None

    def _useful_pause(self, outcome: Answer | Lost) -> float | None:
        """None where another attempt is not safe, or will not help soon."""
        backoff_s = min(0.25 * 2 ** min(self._attempts, MOST_RETRIES), 8.0) * random.uniform(0.75, 1.25)
        if isinstance(outcome, Lost):
            return backoff_s if outcome.never_left or self._call.is_repeatable else None
        asked_s = outcome.retry_after_s
        is_in_flight = _is_in_flight(outcome) and "idempotency-key" in self._call.headers
        is_transient = outcome.status in _TRANSIENT and self._call.is_repeatable and not outcome.is_final
        pause_s = backoff_s if asked_s is None else max(asked_s, 0.05)
        return pause_s if (is_in_flight or is_transient) and pause_s <= LONGEST_PAUSE_S else None

    def _outage_pause(self, outcome: Answer | Lost, pause_s: float, patience: Patience) -> float | None:
        now = self._clock()
        if self._gone_at is None:
            self._gone_at = now
        ends_at = self._gone_at + OUTAGE_S if patience.ends_at is None else patience.ends_at
        if now < ends_at:
            return min(pause_s, _LONGEST_OUTAGE_PAUSE_S, ends_at - now)
        if isinstance(outcome, Lost):
            raise Unreachable(outcome.url, outcome.why, now - self._gone_at, patience.job_id)
        return None


def _is_in_flight(answer: Answer) -> bool:
    """Whether the first request of this idempotency key is still being answered, or died with its service."""
    return answer.status == 409 and answer.retry_after_s is not None


def _is_away(outcome: Answer | Lost) -> bool:
    """A store that is full is there: who submits is told soon."""
    if isinstance(outcome, Lost) or _is_in_flight(outcome):
        return True
    return outcome.status in AWAY and outcome.code != "store_full"
