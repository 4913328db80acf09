"""`Idempotency-Key`: a request that is sent again makes nothing new."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from api_schemas.errors import StoreUnavailable
from job_store import submission
from job_store.records import Created, Idempotency
from service.accounts.keys import Caller
from service.parts import Parts

RESERVED_S = 10.0
"""A name is free again this long after its request's process has died."""


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
    earlier = await parts.store.run(submission.reserve(caller.owner, idempotency, RESERVED_S))
    keeper = asyncio.create_task(_keep(parts, caller.owner, idempotency.key))
    try:
        yield earlier
    except Exception:
        # Refused, or broken on our side: the name is free again, and the client may correct its request.
        keeper.cancel()
        await parts.store.run(submission.unreserve(caller.owner, idempotency.key))
        raise
    finally:
        keeper.cancel()


async def _keep(parts: Parts, owner: str, key: str) -> None:
    """A large batch takes longer to check than the mark lasts."""
    while True:
        await asyncio.sleep(RESERVED_S / 3)
        with suppress(StoreUnavailable):
            await parts.store.run(submission.keep_reserved(owner, key, RESERVED_S))


def replay_headers(created: Created) -> dict[str, str]:
    """Tells a client that its request had been answered before."""
    return {"Idempotency-Replayed": "true"} if created.replayed else {}
