"""The `RateLimit` and `RateLimit-Policy` fields (draft-ietf-httpapi-ratelimit-headers) of answers to submissions."""

from math import ceil, floor

from job_store import keys
from job_store.store import AsyncJobStore
from service.accounts.keys import Caller

MINUTE_S, DAY_S = 60, 86_400


async def rate_fields(store: AsyncJobStore, caller: Caller, is_refused: bool = False) -> dict[str, str]:
    """What is left of this key's limits, and seconds until all of it is back; empty for a key without limits.

    The limit on queued jobs, which every key has, is told only where a request was refused. The fields hold integers:
    seconds of computing are rounded down, so that no more is promised than there is.
    """
    limits = caller.limits
    if not is_refused and limits.submits_per_minute is None and limits.compute_s_per_day is None:
        return {}
    used = await store.run(keys.usage(caller.owner, limits))
    policies: list[str] = []
    left: list[str] = []
    if used.submits is not None:
        policies.append(f'"submits";q={used.submits.limit};w={MINUTE_S}')
        left.append(f'"submits";r={max(0, used.submits.remaining)};t={ceil(used.submits.reset_s)}')
    if limits.compute_s_per_day is not None:
        remaining = max(0, floor(limits.compute_s_per_day - used.compute_s_today))
        policies.append(f'"compute_s";q={floor(limits.compute_s_per_day)};w={DAY_S}')
        left.append(f'"compute_s";r={remaining};t={ceil(used.day_left_s)}')
    if is_refused and limits.queued_jobs is not None:
        policies.append(f'"queued_jobs";q={limits.queued_jobs}')
        left.append(f'"queued_jobs";r={max(0, limits.queued_jobs - used.queued_jobs)}')
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(left)} if policies else {}
