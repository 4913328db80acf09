"""How answers are described in OpenAPI: problems by status, common headers, examples."""

from typing import Any

from api_schemas.errors import Problem
from api_schemas.jobs import TERMINAL, JobStatus
from service.errors import ERROR_PAGES, PROBLEM_TYPE

Responses = dict[int | str, dict[str, Any]]

_EXAMPLES: dict[int, tuple[str, str, str, bool]] = {
    400: ("malformed_json", "The body is not valid JSON", "unexpected character: line 1 column 9 (char 8)", False),
    401: ("unauthenticated", "A valid API key is needed", "send an API key: `Authorization: Bearer pp_...`", False),
    403: (
        "forbidden",
        "The API key does not allow this",
        "this needs the scope 'submit': the key 'web' has read",
        False,
    ),
    404: ("unknown_job", "There is no such job", "There is no job 'job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E'.", False),
    405: ("method_not_allowed", "The route does not have this method", "it takes GET, HEAD, POST", False),
    406: ("not_acceptable", "No acceptable format", "this can be served as application/json, text/csv", False),
    408: ("request_timeout", "The request took too long to arrive", "the body did not arrive within 30 s", True),
    409: ("job_not_cancellable", "The job has ended already", "The job has succeeded already.", False),
    410: ("result_expired", "The result is no longer kept", "Results are kept for 7 days after the end.", False),
    413: ("body_too_large", "The body is too large", "the body may have at most 16777216 bytes", False),
    415: ("unsupported_media_type", "The body must be JSON", "Content-Type must be application/json", False),
    422: ("invalid_spec", "The spec cannot run", "head 13 does not exist: this model has heads 0 to 11", False),
    429: ("quota_exceeded", "Too much at once for this API key", "60 submits per minute are allowed", True),
    500: ("internal", "Something went wrong on our side", "The log has the details under this request id.", True),
    503: ("store_unavailable", "The job store does not answer", "Try again in a moment.", True),
}
_ALWAYS = (401, 403, 422, 500, 503)


def _header(description: str, example: str | int, **schema: Any) -> dict[str, Any]:
    kind = "string" if isinstance(example, str) else "integer"
    return {"description": description, "schema": {"type": kind, **schema}, "example": example}


EXAMPLE_JOB_ID = "job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"
OF_EVERY_ANSWER = {
    "X-Request-Id": _header("Quote this when asking for help.", "req_9f2c41d07be35a8816c0f4d21e"),
    "Pathpatch-Version": _header("Version of pathpatch that answered.", "0.1.0"),
}
RETRY_AFTER = _header("Seconds to wait before asking again, where that makes sense.", 2, minimum=0)
LOCATION = _header("Path of what was made.", "/v1/jobs/job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E")
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
ATTACHMENT = _header("A file name, for browsers.", 'attachment; filename="job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E.csv"')


def _example(status: int) -> dict[str, Any]:
    code, title, detail, retryable = _EXAMPLES[status]
    problem: dict[str, Any] = {"type": ERROR_PAGES + code, "title": title, "status": status, "detail": detail}
    problem |= {"instance": "/v1/jobs", "code": code, "retryable": retryable, "request_id": "req_5f0c", "errors": []}
    if status == 422:
        problem["errors"] = [{"pointer": "/patch/senders/0/head", "message": detail}]
    return problem


def problems(*statuses: int) -> Responses:
    """The problems that a route may answer with, those of every route that needs key and store included."""
    return only_problems(*statuses, *_ALWAYS)


def only_problems(*statuses: int) -> Responses:
    """These problems and no other."""
    found: Responses = {}
    for status in sorted(set(statuses)):
        headers: dict[str, Any] = {}
        if status in (408, 409, 429, 503):
            headers["Retry-After"] = RETRY_AFTER
        if status == 429:
            headers |= {"RateLimit": RATE_LIMIT, "RateLimit-Policy": RATE_POLICY}
        if status == 401:
            headers["WWW-Authenticate"] = AUTHENTICATE
        found[status] = {
            "description": _EXAMPLES[status][1],
            "headers": headers,
            "content": {
                PROBLEM_TYPE: {
                    "schema": {"$ref": f"#/components/schemas/{Problem.__name__}"},
                    "example": _example(status),
                }
            },
        }
    return found


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
