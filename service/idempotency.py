"""`Idempotency-Key`: a request that is sent again makes nothing new."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from job_store import submission
from job_store.records import Created, Idempotency
from service.keys import Caller
from service.parts import Parts


def named(key: str | None, path: str, body: bytes, kept_s: float) -> Idempotency | None:
    """The client's name for a request, with what tells it from another request of that name."""
    if key is None:
        return None
    return Idempotency(key, hashlib.sha256(path.encode() + b"\n" + body).hexdigest(), kept_s)


@asynccontextmanager
async def reserved(parts: Parts, caller: Caller, idempotency: Idempotency | None) -> AsyncIterator[Created | None]:
    """Holds the name while its request is answered; yields what an earlier request of that name made.

    Raises:
        IdempotencyKeyInFlight: The first one is still being answered.
        IdempotencyKeyReused: It came with another body.
    """
    if idempotency is None:
        yield None
        return
    earlier = await parts.store.run(submission.reserve(caller.owner, idempotency))
    try:
        yield earlier
    except Exception:
        # Refused, or broken on our side: the name is free again, and the client may correct its request.
        await parts.store.run(submission.unreserve(caller.owner, idempotency.key))
        raise


def replay_headers(created: Created) -> dict[str, str]:
    """Tells a client that its request had been answered before."""
    return {"Idempotency-Replayed": "true"} if created.replayed else {}
