"""The `RateLimit` and `RateLimit-Policy` fields (draft-ietf-httpapi-ratelimit-headers) of answers to submissions."""

from math import ceil

from job_store import keys
from job_store.store import AsyncJobStore
from service.keys import Caller

WINDOW_S = 60


async def rate_fields(store: AsyncJobStore, caller: Caller) -> dict[str, str]:
    """Submits left for this key, and when there are more; empty for a key without that limit."""
    if caller.limits.submits_per_minute is None:
        return {}
    submits = (await store.run(keys.usage(caller.owner, caller.limits))).submits
    if submits is None:
        return {}
    return {
        "RateLimit-Policy": f'"submits";q={submits.limit};w={WINDOW_S}',
        "RateLimit": f'"submits";r={max(0, submits.remaining)};t={ceil(submits.reset_s)}',
    }
