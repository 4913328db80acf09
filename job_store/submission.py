"""Steps that create jobs."""

import json
from collections.abc import Sequence
from typing import Any

from api_schemas.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, PathPatchingError, QuotaExceeded
from job_store.contents import Content
from job_store.nudges import message_for
from job_store.records import Created, Idempotency, Limits, NewJob, Retention, read_described
from job_store.script import Argument, Step

SMALL_BYTES = 65_536
"""Jobs of less in all are sent together with those of other requests."""


class CacheGone(PathPatchingError):
    """The earlier result that should answer a job without shards was just erased; create the job again with shards."""

    code = "cache_gone"
    title = "An earlier result was erased meanwhile"
    retryable = True


def _header(job: NewJob) -> str:
    spec = job.spec
    header = {
        "model": spec.model.name,
        "priority": spec.priority,
        "tags": json.dumps(spec.tags),
        "name": None if spec.name is None else spec.name.casefold(),
        "trace": json.dumps(job.trace),
        "warnings": job.facts.warnings,
        "schema": job.schema,
        "phases": max(1, len(job.facts.phase_shares)),
        "spec_sha256": job.facts.spec_sha256,
        "use_cache": spec.use_cache,
        "webhook_url": job.webhook_url,
        "result_bytes": job.result_bytes,
        "expires_after_ms": None if spec.expires_after_s is None else round(spec.expires_after_s * 1000),
    }
    return json.dumps({name: value for name, value in header.items() if value is not None})


def _arguments(job: NewJob) -> list[Argument]:
    spec_json = job.spec_json or job.spec.model_dump_json()
    return [job.id, _header(job), spec_json, job.facts.to_json(), len(job.shards), *_inputs(job)]


def _inputs(job: NewJob) -> list[Content]:
    return [Content.of(f"work/{job.id}/input-{number}", shard) for number, shard in enumerate(job.shards)]


def _settings(
    limits: Limits, retention: Retention, idempotency: Idempotency | None, batch_id: str | None
) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "limits": limits.to_dict(),
        "result_ms": round(retention.result_s * 1000),
        "record_ms": round(max(retention.record_s, retention.result_s) * 1000),
    }
    if idempotency is not None:
        kept_ms = round(idempotency.kept_s * 1000)
        settings["idempotency"] = {"key": idempotency.key, "body": idempotency.body_sha256, "ms": kept_ms}
    if batch_id is not None:
        settings["batch"] = batch_id
    return settings


def _read_created(reply: list[Any]) -> Created:
    kind = reply[0].decode()
    if kind == "reused":
        raise IdempotencyKeyReused(
            "This Idempotency-Key came with another body before; bodies are compared byte for byte. Send the same "
            "bytes again, or use a new key for a new request."
        )
    if kind == "in_flight":
        raise IdempotencyKeyInFlight("The first request with this Idempotency-Key is still being answered. Try again.")
    if kind == "cache_gone":
        raise CacheGone("An earlier result that should have answered was erased meanwhile.")
    if kind == "quota":
        _, limit, allowed, used, retry_ms, asked = reply
        raise QuotaExceeded(limit.decode(), float(allowed), float(used), int(retry_ms) / 1000, int(asked))
    _, ids, batch, cached, *described = reply
    return Created(
        job_ids=tuple(job_id.decode() for job_id in ids),
        batch_id=(batch or b"").decode() or None,
        replayed=kind == "replayed",
        cached=tuple(bool(flag) for flag in cached),
        record=read_described(*described[0]) if described and described[0] else None,
    )


def create(
    owner: str,
    jobs: Sequence[NewJob],
    *,
    limits: Limits,
    retention: Retention,
    idempotency: Idempotency | None = None,
    batch_id: str | None = None,
) -> Step[Created]:
    """Create all jobs or none, and wake workers for them. An earlier result of the same owner answers an equal spec.

    Raises:
        QuotaExceeded: The jobs would exceed a limit.
        IdempotencyKeyReused: The idempotency key was used with another body.
        CacheGone: A job has no shards, and no earlier result answers it.
    """
    assert jobs
    settings = _settings(limits, retention, idempotency, batch_id)
    settings["messages"] = {model: message_for(model) for model in {job.spec.model.name for job in jobs if job.shards}}
    arguments = [argument for job in jobs for argument in _arguments(job)]
    is_small = sum(len(job.spec_json) + sum(map(len, job.shards)) for job in jobs) < SMALL_BYTES
    return Step("create", (owner, json.dumps(settings), *arguments), _read_created, shares_way=is_small)


def reserve(owner: str, idempotency: Idempotency, ttl_s: float = 10.0) -> Step[Created | None]:
    """Mark an idempotency key as being answered, before its request is read; None means: continue.

    The mark lapses after ``ttl_s``, so that a crash does not block the key.

    Raises:
        IdempotencyKeyInFlight: An equal request is being answered.
        IdempotencyKeyReused: The idempotency key was used with another body.
    """

    def read(reply: list[Any]) -> Created | None:
        return None if reply[0] == b"reserved" else _read_created(reply)

    arguments = (owner, idempotency.key, idempotency.body_sha256, round(ttl_s * 1000))
    return Step("reserve", arguments, read, repeatable=False)


def keep_reserved(owner: str, key: str, ttl_s: float) -> Step[None]:
    """Keep the mark for another ``ttl_s`` while the answer takes longer."""
    return Step("keep_reserved", (owner, key, round(ttl_s * 1000)), lambda _: None)


def unreserve(owner: str, key: str) -> Step[None]:
    """Forget an idempotency key whose request was refused."""
    return Step("unreserve", (owner, key), lambda _: None)


def find_cached(spec_sha256: str, owner: str) -> Step[str | None]:
    """Id of the job whose result answers an equal spec."""
    return Step("find_cached", (owner, spec_sha256), lambda reply: reply.decode() if reply else None)
