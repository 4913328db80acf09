"""From specs to queued jobs: answer from an earlier result or resolve and cut into shards; record."""

from collections.abc import Sequence
from dataclasses import dataclass

from job_store import submission
from job_store.records import Created, Idempotency
from job_store.submission import CacheGone
from runtime import tracing
from service.accounts.keys import Caller, require_priority
from service.checkers.checker import Given, Outline
from service.jobs.intake import QUICK_WORK, Intake, speeds_of
from service.parts import Parts


@dataclass(frozen=True)
class Submission:
    """What one request asks for."""

    caller: Caller
    intake: Intake
    idempotency: Idempotency | None = None
    batch_id: str | None = None


async def submit(parts: Parts, asked: Submission) -> Created:
    """Accept the jobs, all or none.

    Raises:
        InvalidSpec: Some of them cannot run.
        QuotaExceeded: The caller has too many already.
        Forbidden: The caller may not submit with the priority `high`.
        StoreFull: There is no room.
    """
    await parts.store.check_room()
    outlines = await asked.intake.outlines()
    require_priority(asked.caller, (outline.priority for outline in outlines))
    try:
        created = await _create(parts, asked, outlines, await _answered(parts, asked.caller, outlines))
    except CacheGone:
        created = await _create(parts, asked, outlines, [False] * len(outlines))
    parts.sent.remember(asked.caller.owner, outlines)
    return created


async def _answered(parts: Parts, caller: Caller, outlines: Sequence[Outline]) -> list[bool]:
    """Per spec, whether an earlier result answers it, so that it need not be resolved again.

    For a single spec that is quickly resolved a guess will do, and saves asking: ``create`` knows.
    """
    if len(outlines) == 1 and outlines[0].work <= QUICK_WORK:
        return [parts.sent.has(caller.owner, outlines[0])]
    digests = [outline.digest for outline in outlines]
    return [
        digest is not None and await parts.store.run(submission.find_cached(digest, caller.owner)) is not None
        for digest in digests
    ]


async def _create(parts: Parts, asked: Submission, outlines: list[Outline], answered: list[bool]) -> Created:
    speeds = await speeds_of(parts, outlines)
    with tracing.span("queue", "producer", pathpatch__jobs=len(outlines)):
        new_jobs = await asked.intake.new_jobs(
            Given(speeds, outlines, answered, tracing.carried(), asked.batch_id is not None)
        )
        step = submission.create(
            asked.caller.owner,
            new_jobs,
            limits=asked.caller.limits,
            retention=parts.retention,
            idempotency=asked.idempotency,
            batch_id=asked.batch_id,
        )
        return await parts.store.run(step)
