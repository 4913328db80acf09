"""From specs to queued jobs: answer from an earlier result or resolve and cut into shards; record; nudge."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from api_schemas.datasets import ResolvedDataset
from api_schemas.errors import InvalidSpec, ModelUnavailable, UnknownModel
from api_schemas.spec import JobSpec
from api_schemas.wording.values import wrong
from job_store import submission
from job_store.digest import spec_sha256
from job_store.ids import new_job_id
from job_store.records import Created, Idempotency, JobFacts, NewJob
from job_store.submission import CacheGone
from runtime import tracing
from service.accounts.keys import Caller, require_priority
from service.jobs.sharding import cut
from service.parts import Parts
from service.specs.limits import knob
from service.specs.parsing import each
from service.specs.validation import CheckedSpec, check_job, normalised
from service.version import software_sha256

TEXT_BYTES_PER_STORED = 4
"""A result as JSON, which is what is estimated, takes so many times the bytes that are stored."""

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")


async def in_thread(
    parts: Parts, work: Callable[Arguments, Value], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Value:
    """Do something slow without holding up the event loop."""
    return await asyncio.get_running_loop().run_in_executor(parts.resolvers, lambda: work(*arguments, **options))


@dataclass(frozen=True)
class Order:
    """What one request asks for."""

    caller: Caller
    specs: Sequence[JobSpec]
    idempotency: Idempotency | None = None
    batch_id: str | None = None


async def submit(parts: Parts, order: Order) -> Created:
    """Accept the jobs, all or none.

    Raises:
        InvalidSpec: Some of them cannot run.
        QuotaExceeded: The caller has too many already.
        Forbidden: The caller may not submit with the priority `high`.
    """
    require_priority(order.caller, order.specs)
    for model in {spec.model.name for spec in order.specs}:
        await parts.speeds.refresh(model)
    try:
        created = await _create(parts, order, await _answered(parts, order))
    except CacheGone:
        created = await _create(parts, order, [False] * len(order.specs))
    for model, count in created.nudges.items():
        parts.publisher.publish(model, count)
    return created


async def _answered(parts: Parts, order: Order) -> list[bool]:
    """Per spec, whether an earlier result answers it, so that it need not be resolved again."""
    digests = await in_thread(parts, _digests, parts, order)
    owner = order.caller.owner
    return [
        digest is not None and await parts.store.run(submission.find_cached(digest, owner)) is not None
        for digest in digests
    ]


def _digests(parts: Parts, order: Order) -> list[str | None]:
    return [_digest(parts, spec) if spec.use_cache else None for spec in order.specs]


def _digest(parts: Parts, spec: JobSpec) -> str | None:
    """What equal specs share; None for a model that is not there, which is told when the spec is checked."""
    try:
        return _equal_specs(normalised(spec), parts.catalog.get(spec.model.name).revision)
    except (UnknownModel, ModelUnavailable):
        return None


def _equal_specs(spec: JobSpec, revision: str) -> str:
    return spec_sha256(spec, revision, software_sha256())


def _all(order: Order, accept: Callable[[JobSpec], Value]) -> list[Value]:
    return [accept(spec) for spec in order.specs] if order.batch_id is None else each(order.specs, accept)


async def _create(parts: Parts, order: Order, answered: Sequence[bool]) -> Created:
    with tracing.span("queue", "producer", pathpatch__jobs=len(order.specs)):
        new_jobs = await in_thread(parts, _new_jobs, parts, order, answered, tracing.carried())
        limits, retention = order.caller.limits, parts.retention
        return await parts.store.run(
            submission.create(
                order.caller.owner,
                new_jobs,
                limits=limits,
                retention=retention,
                idempotency=order.idempotency,
                batch_id=order.batch_id,
            )
        )


def _new_jobs(parts: Parts, order: Order, answered: Sequence[bool], trace: dict[str, str]) -> list[NewJob]:
    is_answered = iter(answered)
    most, tokens = parts.limits.max_batch_tokens, 0

    def new_job(spec: JobSpec) -> NewJob:
        nonlocal tokens
        if next(is_answered) and not parts.webhooks.errors_of(spec):
            return _answered_job(parts, spec, trace)
        checked = check(parts, spec)
        tokens += checked.dataset.tokens
        if order.batch_id is not None and tokens > most:
            raise _TooManyTokens
        return _checked_job(parts, checked, trace)

    try:
        return _all(order, new_job)
    except _TooManyTokens:
        why = f"the prompts of these {len(order.specs)} jobs have more than {most:,} tokens in all"
        raise InvalidSpec([wrong(("jobs",), f"{why} ({knob('max_batch_tokens')}): send smaller batches")]) from None


class _TooManyTokens(Exception):
    """No more of the batch is resolved."""


def check(parts: Parts, spec: JobSpec) -> CheckedSpec:
    """A spec that can run here, and whose end can be announced where it asks.

    Raises:
        InvalidSpec: Carries everything that is wrong.
    """
    errors = parts.webhooks.errors_of(spec)
    try:
        checked = check_job(spec, parts.catalog, parts.limits)
    except InvalidSpec as exc:
        raise InvalidSpec([*exc.errors, *errors]) from exc
    if errors:
        raise InvalidSpec(errors)
    return checked


def _answered_job(parts: Parts, spec: JobSpec, trace: dict[str, str]) -> NewJob:
    """An earlier result answers: no worker will need the rest."""
    plain, revision = normalised(spec), parts.catalog.get(spec.model.name).revision
    facts = JobFacts(0, 0, 0.0, "", _equal_specs(plain, revision), revision)
    return NewJob(new_job_id(), plain, facts, (), trace, _webhook_url(spec))


def _checked_job(parts: Parts, checked: CheckedSpec, trace: dict[str, str]) -> NewJob:
    model = checked.spec.model.name
    shards = tuple(shard.model_dump_json() for shard in cut(checked, parts.speeds.of(model).nominal))
    facts = _facts(checked, len(shards))
    result_bytes = checked.estimated_result_bytes // TEXT_BYTES_PER_STORED
    return NewJob(new_job_id(), checked.spec, facts, shards, trace, _webhook_url(checked.spec), result_bytes)


def _webhook_url(spec: JobSpec) -> str | None:
    return None if spec.webhook is None else spec.webhook.url


def _facts(checked: CheckedSpec, shards: int) -> JobFacts:
    return JobFacts(
        longest=checked.dataset.longest,
        examples=len(checked.dataset),
        flops_per_shard=checked.estimated_flops / shards,
        dataset_sha256=dataset_sha256(checked.dataset),
        spec_sha256=_equal_specs(checked.spec, checked.revision),
        revision=checked.revision,
        warnings=tuple(checked.warnings),
        phase_shares=tuple(flops / checked.estimated_flops for flops in checked.phase_flops),
    )


def dataset_sha256(dataset: ResolvedDataset) -> str:
    """Digest of the token ids, roles and answers, whatever they were drawn from."""
    return hashlib.sha256(dataset.model_dump_json().encode()).hexdigest()
