"""How answers are described in OpenAPI: problems by status, common headers, examples."""

from typing import Any

from api_schemas.errors import Problem
from api_schemas.jobs import TERMINAL, JobStatus
from service.errors import ERROR_PAGES, PROBLEM_TYPE, RETRY_AFTER_S, status_of
from service.http.representations import titles

Responses = dict[int | str, dict[str, Any]]
EXAMPLE_JOB_ID = "job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"
EXAMPLE_BATCH_ID = EXAMPLE_JOB_ID.replace("job", "batch")

_EXAMPLES: dict[str, str] = {
    "malformed_json": "the body is not valid JSON: unexpected character: line 1 column 9 (char 8)",
    "unauthenticated": "send an API key: `Authorization: Bearer pp_...`",
    "forbidden": "without API keys the service answers to localhost only: the Host header names another",
    "not_found": "There is nothing of this name.",
    "unknown_job": f"There is no job '{EXAMPLE_JOB_ID}': it was deleted, never existed, or belongs to another key.",
    "unknown_batch": f"There is no batch '{EXAMPLE_BATCH_ID}': it never existed, has expired, or belongs "
    "to another key.",
    "not_acceptable": "Accept is 'image/png': this can be served as application/json, text/csv",
    "request_timeout": "the body did not arrive within 30 s (PATHPATCH_BODY_TIMEOUT_S)",
    "idempotency_key_in_flight": "The first request with this Idempotency-Key is still being answered. Try again.",
    "job_not_cancellable": f"Job {EXAMPLE_JOB_ID} has succeeded: only a queued or running job can be cancelled.",
    "job_still_running": f"Job {EXAMPLE_JOB_ID} is running: cancel it and wait until it has ended, then delete it.",
    "no_result": "The job is cancelled, so it has no result",
    "result_expired": "The job did not finish within its expires_after_s = 60, so it has no result.",
    "body_too_large": "the body may have at most 16777216 bytes (PATHPATCH_MAX_BODY_BYTES): fewer prompts, or a seeded "
    "dataset",
    "unsupported_media_type": "Content-Type is 'text/plain': it must be application/json",
    "invalid_spec": "head 13 does not exist: this model has heads 0 to 11",
    "invalid_parameter": "there is no parameter 'limt': did you mean 'limit'?",
    "idempotency_key_reused": "This Idempotency-Key came with another body before; bodies are compared byte for byte.",
    "rate_limited": "as many event streams (PATHPATCH_MAX_EVENT_STREAMS, ..._PER_KEY) as allowed are in use: "
    "500 by this key, which may have 500, and 600 in all, which may be 2000",
    "service_busy": "the bodies of all unanswered requests have more than 100663296 bytes together "
    "(PATHPATCH_MAX_ALL_BODY_BYTES): try again in a moment",
    "quota_exceeded": "submits_per_minute: this key is allowed 60 and would be at 61. Try again later.",
    "internal": "The log has the details under this request id.",
    "service_ending": "The service was told to end before this was answered. Try again, with the same Idempotency-Key.",
    "store_unavailable": "The job store does not answer.",
    "store_full": "The job store is full. Erase jobs, or give it more memory.",
}
"""Error code -> what its ``detail`` may say."""
_POINTERS = {"invalid_spec": "/patch/senders/0/head", "invalid_parameter": "/query/limt"}
_ALWAYS = ("unauthenticated", "forbidden", "invalid_parameter", "internal", "store_unavailable", "service_ending")
BODY = (
    "malformed_json",
    "request_timeout",
    "body_too_large",
    "unsupported_media_type",
    "rate_limited",
    "service_busy",
)
"""What may be wrong with any body."""


def _header(description: str, example: str | int, **schema: Any) -> dict[str, Any]:
    kind = "string" if isinstance(example, str) else "integer"
    return {"description": description, "schema": {"type": kind, **schema}, "example": example}


OF_EVERY_ANSWER = {
    "X-Request-Id": _header("Quote this when asking for help.", "req_9f2c41d07be35a8816c0f4d21e"),
    "Cross-Origin-Resource-Policy": _header("Pages of other sites cannot embed this.", "same-origin"),
    "Pathpatch-Version": _header("Version of pathpatch that answered.", "0.1.0"),
}
RETRY_AFTER = _header("Seconds to wait before asking again, where that makes sense.", 2, minimum=0)
LOCATION = _header("Path of what was made.", f"/v1/jobs/{EXAMPLE_JOB_ID}")
ETAG = _header("Version, for `If-None-Match`.", '"3-0"')
PREFERENCE = _header("What `Prefer` asked for and got.", "wait=10")
RATE_LIMIT = _header(
    "What is left of this key's limits, `r`, and in how many seconds all of it is back, `t`: `submits` of a minute, "
    "`compute_s` of a day, and in a refusal `queued_jobs`.",
    '"submits";r=59;t=1, "compute_s";r=3480;t=27853',
)
RATE_POLICY = _header(
    "The limits of this key: quota `q` per window of `w` seconds.", '"submits";q=60;w=60, "compute_s";q=3600;w=86400'
)
REPLAYED = _header("`true` where an earlier request with the same `Idempotency-Key` made this.", "true")
AUTHENTICATE = _header("How to authenticate.", 'Bearer realm="pathpatch"')
CACHED_BY = _header("The request headers that this answer depends on.", "Accept, Accept-Encoding")
ALONE = _header("Of HTML and SVG: opened by itself, it belongs to no site.", "default-src 'none'; sandbox")
ATTACHMENT = _header("A file name, for browsers.", f'attachment; filename="{EXAMPLE_JOB_ID}.csv"')


def _example(code: str) -> dict[str, Any]:
    title, retryable = titles()[code]
    status, detail = status_of(code), _EXAMPLES[code]
    problem: dict[str, Any] = {"type": ERROR_PAGES + code, "title": title, "status": status, "detail": detail}
    problem |= {"instance": "/v1/jobs", "code": code, "retryable": retryable, "request_id": "req_5f0c", "errors": []}
    if pointer := _POINTERS.get(code):
        problem["errors"] = [{"pointer": pointer, "message": detail}]
    return problem


def problems(*codes: str, **meanings: str) -> Responses:
    """The problems that a route may answer with, those of every route that needs key and store included.

    ``meanings`` says of a code what it means on this route, where its title does not.
    """
    return only_problems(*codes, *_ALWAYS, **meanings)


def only_problems(*codes: str, **meanings: str) -> Responses:
    """These problems and no other."""
    by_status: dict[int, list[str]] = {}
    for code in sorted({*codes, *meanings}):
        by_status.setdefault(status_of(code), []).append(code)
    return {status: _described(status, by_status[status], meanings) for status in sorted(by_status)}


def _described(status: int, codes: list[str], meanings: dict[str, str]) -> dict[str, Any]:
    """One status, with an example for each code that it may carry."""
    examples = {code: {"summary": titles()[code][0], "value": _example(code)} for code in codes}
    headers: dict[str, Any] = {}
    if status in RETRY_AFTER_S and any(titles()[code][1] for code in codes):
        headers["Retry-After"] = RETRY_AFTER
    if "quota_exceeded" in codes:
        headers |= {"RateLimit": RATE_LIMIT, "RateLimit-Policy": RATE_POLICY}
    if status == 401:
        headers["WWW-Authenticate"] = AUTHENTICATE
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {
        "description": "; ".join(f"{meanings.get(code, titles()[code][0])} (`{code}`)" for code in codes) + ".",
        "headers": headers,
        "content": {PROBLEM_TYPE: {"schema": schema, "examples": examples}},
    }


def answer(
    status: int, description: str, model: Any = None, example: Any = None, **headers: dict[str, Any]
) -> Responses:
    """A success; header names are given with underscores. Without an example one is made of those of the fields."""
    named = {name.replace("_", "-"): shape for name, shape in headers.items()}
    described: dict[str, Any] = {"description": description, "headers": named}
    if model is not None:
        described["model"] = model
    if example is not None:
        described["content"] = {"application/json": {"example": example}}
    return {status: described}


def example_job(status: JobStatus) -> dict[str, Any]:
    """A job of one shard in this state, as it is answered."""
    is_done, is_queued = status in TERMINAL, status == "queued"
    path = f"/v1/jobs/{EXAMPLE_JOB_ID}"
    return {
        "id": EXAMPLE_JOB_ID,
        "object": "job",
        "status": status,
        "done": is_done,
        "created_at": "2026-11-23T09:30:00.000Z",
        "started_at": None if is_queued else "2026-11-23T09:30:00.004Z",
        "finished_at": "2026-11-23T09:30:00.210Z" if is_done else None,
        "progress": {"done": int(status == "succeeded"), "total": 1, "unit": "shard", "eta_s": None},
        "queue": {"position": 0 if is_queued else None},
        "attempt": 0 if is_queued else 1,
        "model": "demo",
        "tags": EXAMPLE_SPEC["tags"],
        "spec": EXAMPLE_SPEC,
        "error": None,
        "cached": False,
        "links": {"self": path} | {name: f"{path}/{name}" for name in ("result", "events", "figure", "cancel")},
    }


def json_body(schema: str, example: Any) -> dict[str, Any]:
    """A request body that the service reads itself, strictly, instead of FastAPI."""
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def merge_patch_body(example: Any) -> dict[str, Any]:
    """An optional request body that changes a document of ours."""
    content = {"schema": {"$ref": "#/components/schemas/MergePatch"}, "example": example}
    kinds = ("application/merge-patch+json", "application/json")
    return {"requestBody": {"required": False, "content": dict.fromkeys(kinds, content)}}


EXAMPLE_SPEC: dict[str, Any] = {
    "model": {"name": "demo"},
    "dataset": {"kind": "ioi", "examples": 200, "seed": 0},
    "patch": {
        "senders": [{"hook": "z", "layer": 2, "head": head} for head in range(8)],
        "receivers": [{"hook": "q", "layer": 3, "head": 0}],
    },
    "metric": {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"},
    "tags": {"experiment": "what the name movers listen to"},
}
"""Runs anywhere: the demo model and the heads of its card."""
