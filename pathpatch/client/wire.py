"""Requests and answers of the HTTP API as plain data: what to send, and how to read what comes back. No I/O."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from api_schemas.accounts import DeadWebhook, Me
from api_schemas.jobs import TERMINAL, Batch, Job, JobEvent, ListOf, Readiness, ValidationReport, WorkerInfo
from api_schemas.models import ModelInfo
from api_schemas.spec import JobSpec
from pathpatch.client.calls import Answer, Call, UnreadableAnswer, check, reader
from pathpatch.problems import SpecError
from pathpatch.results import Result, result_from
from pathpatch.results.files import from_npz

Value = TypeVar("Value")
SpecLike = JobSpec | Mapping[str, Any]

NPZ = "application/x-npz"
FIGURE_FORMATS = {
    "json": "application/json", "html": "text/html", "svg": "image/svg+xml", "png": "image/png",
    "pdf": "application/pdf",
}  # fmt: skip
LONGEST_WAIT_S = 60


def _plain(answer: Answer) -> Any:
    return check(answer).json()


def _nothing(answer: Answer) -> None:
    check(answer)


def spec_json(spec: SpecLike) -> Any:
    """A spec as JSON data; what was left to its default stays so.

    Raises:
        SpecError: Something in it is no JSON.
    """
    if isinstance(spec, JobSpec):
        return spec.model_dump(mode="json", exclude_unset=True)
    try:
        return json.loads(json.dumps(dict(spec), default=_as_json, allow_nan=False))
    except (TypeError, ValueError) as exc:
        raise SpecError(f"the spec cannot be written as JSON: {exc}") from None


def _as_json(value: Any) -> Any:
    """Records of the contract, arrays, tensors and their numbers, as JSON says them."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r:.60} is of type {type(value).__name__}")


def _post(path: str, body: Any, read: Callable[[Answer], Value], **options: Any) -> Call[Value]:
    headers = {"content-type": "application/json"} | options.pop("headers", {})
    content = json.dumps(body, allow_nan=False).encode() if body is not None else None
    return Call("POST", path, read, headers=headers if body is not None else {}, content=content, **options)


def _job_path(job_id: str, part: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{part}"


def _prefer(wait_s: float) -> dict[str, str]:
    return {"prefer": f"wait={int(wait_s)}"} if wait_s >= 1 else {}


def submit(spec: SpecLike, idempotency_key: str) -> Call[Job]:
    """Submit one job; the key makes sending it again harmless."""
    return _post("/v1/jobs", spec_json(spec), reader(Job), headers={"idempotency-key": idempotency_key})


def rerun(job_id: str, changes: Mapping[str, Any], idempotency_key: str) -> Call[Job]:
    """Submit a job's spec again, with a JSON merge patch applied."""
    headers = {"idempotency-key": idempotency_key, "content-type": "application/merge-patch+json"}
    return _post(_job_path(job_id, "/rerun"), spec_json(changes), reader(Job), headers=headers)


def validate(spec: SpecLike) -> Call[ValidationReport]:
    """What would happen to a spec."""
    return _post("/v1/jobs:validate", spec_json(spec), reader(ValidationReport))


def submit_batch(specs: Sequence[SpecLike], idempotency_key: str) -> Call[Batch]:
    """Submit several jobs, all or none."""
    body = {"jobs": [spec_json(spec) for spec in specs]}
    return _post("/v1/batches", body, reader(Batch), headers={"idempotency-key": idempotency_key})


def get_batch(batch_id: str) -> Call[Batch]:
    """A batch and the states of its jobs."""
    return Call("GET", f"/v1/batches/{quote(batch_id, safe='')}", reader(Batch))


def cancel_batch(batch_id: str) -> Call[Batch]:
    """Cancel what has not ended."""
    return _post(f"/v1/batches/{quote(batch_id, safe='')}/cancel", None, reader(Batch))


def get_job(job_id: str, wait_s: float = 0.0) -> Call[Job]:
    """A job as it is, or as it ends within ``wait_s``."""
    return Call("GET", _job_path(job_id), reader(Job), headers=_prefer(wait_s), wait_s=wait_s)


def cancel_job(job_id: str) -> Call[Job]:
    """Cancel; twice is fine."""
    return _post(_job_path(job_id, "/cancel"), None, reader(Job))


def delete_job(job_id: str) -> Call[None]:
    """Erase record, events and result."""
    return Call("DELETE", _job_path(job_id), _nothing)


def list_jobs(
    *, limit: int = 20, after: str | None = None, status: str | None = None, model: str | None = None,
    tag: str | None = None, name: str | None = None,
) -> Call[ListOf[Job]]:  # fmt: skip
    """One page of jobs, newest first."""
    asked = {"limit": str(limit), "after": after, "status": status, "model": model, "tag": tag, "name": name}
    params = {field: value for field, value in asked.items() if value is not None}
    return Call("GET", "/v1/jobs", reader(ListOf[Job]), params=params)


def list_events(job_id: str, after: str | None = None) -> Call[ListOf[JobEvent]]:
    """A page of what happened to a job, oldest first."""
    params = {"limit": "100"} | ({} if after is None else {"after": after})
    headers = {"accept": "application/json"}
    return Call("GET", _job_path(job_id, "/events"), reader(ListOf[JobEvent]), params=params, headers=headers)


def get_result(job_id: str, spec: Mapping[str, Any] | None = None) -> Call[Result | None]:
    """The result with its arrays at full precision; None while the job has not ended."""

    def read(answer: Answer) -> Result | None:
        if check(answer).status == 202:
            return None
        said = None if spec is None else dict(spec)
        is_npz = answer.headers.get("content-type", "").startswith(NPZ)
        try:
            return result_from(from_npz(answer.content) if is_npz else answer.json(), said)
        except (KeyError, TypeError, ValueError) as exc:
            raise UnreadableAnswer("result", f"{type(exc).__name__}: {exc}", answer) from exc

    accept = f"{NPZ}, application/json;q=0.5"
    return Call("GET", _job_path(job_id, "/result"), read, headers={"accept": accept})


def get_figure(
    job_id: str, figure_format: str, kind: str | None, block: int | str, look: Mapping[str, Any]
) -> Call[bytes]:
    """The result's figure as the service draws it; ``look`` as the fields of ``pathpatch.drawing.look.Look``."""
    if figure_format not in FIGURE_FORMATS:
        raise ValueError(f"no figure format {figure_format!r}: it is one of {', '.join(FIGURE_FORMATS)}")
    params = {"block": str(block)} | ({} if kind is None else {"kind": kind})
    params |= {name: str(value) for name, value in look.items() if name != "size"}
    params |= dict(zip(("width", "height"), map(str, look.get("size", ())), strict=False))
    headers = {"accept": FIGURE_FORMATS[figure_format]}
    return Call("GET", _job_path(job_id, "/figure"), lambda a: check(a).content, params=params, headers=headers)


def list_models() -> Call[list[ModelInfo]]:
    """The models of the registry."""
    return Call("GET", "/v1/models", lambda answer: list(reader(ListOf[ModelInfo])(answer).data))


def get_model(name: str) -> Call[ModelInfo]:
    """One model."""
    return Call("GET", f"/v1/models/{quote(name, safe='')}", reader(ModelInfo))


def list_workers() -> Call[list[WorkerInfo]]:
    """The workers that are alive."""
    return Call("GET", "/v1/workers", lambda answer: list(reader(ListOf[WorkerInfo])(answer).data))


def get_me() -> Call[Me]:
    """The key's name, limits and use."""
    return Call("GET", "/v1/me", reader(Me))


def get_health() -> Call[Readiness]:
    """Health by component; a service that is not ready says so, which is no refusal."""

    def read(answer: Answer) -> Readiness:
        is_report = answer.status == 503 and "components" in answer.json()
        return reader(Readiness)(replace(answer, status=200) if is_report else answer)

    return Call("GET", "/readyz", read, is_repeatable=False)


def list_dead_webhooks() -> Call[list[DeadWebhook]]:
    """Deliveries that were given up."""
    return Call("GET", "/v1/webhooks/dead", lambda answer: list(reader(ListOf[DeadWebhook])(answer).data))


def get_version() -> Call[dict[str, Any]]:
    """The service's version."""
    return Call("GET", "/version", _plain)


def follow_events(job_id: str, after: str | None) -> Call[None]:
    """A job's events as they happen, as server-sent events."""
    headers = {"accept": "text/event-stream"} | ({} if after is None else {"last-event-id": after})
    return Call("GET", _job_path(job_id, "/events"), _nothing, headers=headers, wait_s=30.0)


def ends_job(event: JobEvent) -> bool:
    """Whether nothing follows this event."""
    return event.type == "status" and event.data.get("status") in TERMINAL
