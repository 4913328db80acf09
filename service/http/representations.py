"""Records of the job store as clients see them: jobs, events, batches and keys as JSON."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson

from api_schemas.errors import PathPatchingError
from job_store.keys import ApiKey
from job_store.records import BatchRecord, JobRecord, StoredEvent, when
from service.errors import ERROR_PAGES, status_of


def timestamp(ms: int | None) -> str | None:
    """RFC 3339, in UTC."""
    return None if ms is None else _rfc3339(when(ms))


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def titles() -> dict[str, tuple[str, bool]]:
    """Error code -> its title, and whether trying again may help."""
    found = {}
    pending = [PathPatchingError]
    while pending:
        kind = pending.pop()
        found[kind.code] = (kind.title, kind.retryable)
        pending.extend(kind.__subclasses__())
    return found


def job_etag(record: JobRecord) -> str:
    """Changes with whatever a poller waits for: the record's version, and its place in the queue.

    Weak, since the estimate of the time left changes with every second.
    """
    return f'W/"{record.version}-{record.position or 0}"'


def _error(record: JobRecord) -> dict[str, Any] | None:
    if record.error_code is None:
        return None
    title, retryable = titles().get(record.error_code, ("The job failed", False))
    return {
        "type": ERROR_PAGES + record.error_code,
        "title": title,
        "status": status_of(record.error_code),
        "detail": record.error_detail or title,
        "instance": f"/v1/jobs/{record.id}",
        "code": record.error_code,
        "retryable": retryable,
        "request_id": None,
        "errors": [],
    }


def job_document(record: JobRecord) -> dict[str, Any]:
    """The fields of ``api_schemas.jobs.Job``, ready for orjson; the spec is passed on as stored, not parsed again."""
    path = f"/v1/jobs/{record.id}"
    return {
        "id": record.id,
        "object": "job",
        "status": record.status,
        "done": record.is_done,
        "created_at": timestamp(record.created_ms),
        "started_at": timestamp(record.started_ms),
        "finished_at": timestamp(record.finished_ms),
        "progress": {"done": record.done, "total": record.total, "unit": "shard", "eta_s": _seconds(record.eta_s)},
        "queue": {"position": record.position},
        "attempt": record.attempt,
        "model": record.model,
        "tags": record.tags,
        "spec": orjson.Fragment(record.spec_json),
        "error": _error(record),
        "cached": record.cached,
        "links": {"self": path} | {part: f"{path}/{part}" for part in ("result", "events", "figure", "cancel")},
    }


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def event_document(event: StoredEvent) -> dict[str, Any]:
    """The fields of ``api_schemas.jobs.JobEvent``."""
    created_at = timestamp(event.created_ms)
    return {"id": event.id, "object": "event", "type": event.type, "created_at": created_at, "data": event.data}


def batch_document(record: BatchRecord) -> dict[str, Any]:
    """The fields of ``api_schemas.jobs.Batch``."""
    states = [status for _, status in record.jobs]
    return {
        "id": record.id,
        "object": "batch",
        "created_at": timestamp(record.created_ms),
        "done": all(status in ("succeeded", "failed", "cancelled", "expired") for status in states),
        "counts": {status: states.count(status) for status in sorted(set(states))},
        "jobs": [job_id for job_id, _ in record.jobs],
    }


def page(documents: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """The fields of ``api_schemas.jobs.ListOf``."""
    return {"object": "list", "data": documents, "has_more": has_more}


def key_document(key: ApiKey) -> dict[str, Any]:
    """The fields of ``api_schemas.accounts.KeyInfo``: nothing of the secret, its digest included."""
    return {
        "id": key.id,
        "object": "key",
        "name": key.name,
        "scopes": list(key.scopes),
        "limits": asdict(key.limits),
        "created_at": timestamp(key.created_ms),
        "expires_at": timestamp(key.expires_ms),
        "last_used_at": timestamp(key.last_used_ms),
        "revoked": key.revoked,
    }
