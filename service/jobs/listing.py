"""Pages of jobs that stay small however large the specs are: one may be short, and says that more follows."""

from typing import Any

from job_store import jobs
from job_store.records import JobRecord, Page
from job_store.store import AsyncJobStore

PAGE_BYTES = 8 * 2**20
FIRST_PIECE = 10


async def page_of_jobs(store: AsyncJobStore, owner: str | None, limit: int, after: str | None, **filters: Any) -> Page:
    """Up to ``limit`` jobs after ``after``, newest first, read in pieces until their specs fill ``PAGE_BYTES``."""
    found: list[JobRecord] = []
    size, piece, has_more = 0, min(limit, FIRST_PIECE), True
    while has_more and piece > 0:
        page = await store.run(jobs.list_jobs(owner, limit=piece, after=after, **filters))
        found += page.records
        size += sum(len(record.spec_json) for record in page.records)
        has_more = page.has_more
        if has_more:
            after = found[-1].id
            fitting = (PAGE_BYTES - size) * len(found) // max(size, 1)
            piece = min(limit - len(found), fitting)
    return Page(tuple(found), has_more)
