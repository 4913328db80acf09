"""The published schema: FastAPI's, with the bodies that the service reads itself, and without what it never answers."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from api_schemas.accounts import NewKey
from api_schemas.errors import Problem
from api_schemas.jobs import TERMINAL, BatchRequest, Job
from api_schemas.spec import JobSpec
from service.accounts.keys import lacks, scopes_of
from service.errors import PROBLEM_TYPE
from service.http.documented import EXAMPLE_BATCH_ID, EXAMPLE_JOB_ID, OF_EVERY_ANSWER, example_job
from service.webhooks.outbox import SKIPPED_FIELDS

REFERENCE = "#/components/schemas/{model}"

DESCRIPTION = """\
Exact path patching of decoder language models (GPT-2, Pythia, Llama, Qwen, Gemma and others), as jobs.

1. `POST /v1/jobs` with a spec: the model, the prompts, what is patched, what is measured.
2. `GET /v1/jobs/{job_id}` with `Prefer: wait=30` until `done`, or follow `/events`.
3. `GET /v1/jobs/{job_id}/result` as JSON, npz or CSV; `/figure` as a picture.

Errors are `application/problem+json` (RFC 9457) with a stable `code`; `retryable` says whether trying again may help.
Submitting with an `Idempotency-Key` makes a retry safe.
"""

TAGS = [
    {"name": "jobs", "description": "Submit, look ahead, list, watch, cancel, erase."},
    {"name": "results", "description": "What came out, as numbers and as pictures."},
    {"name": "batches", "description": "Many jobs in one request."},
    {"name": "models", "description": "What can be patched."},
    {"name": "service", "description": "Workers, health, metrics, version."},
    {"name": "keys", "description": "Who may do what."},
    {"name": "webhooks", "description": "Announcements that could not be delivered."},
]


MERGE_PATCH_SCHEMA = {
    "title": "MergePatch",
    "type": "object",
    "additionalProperties": True,
    "description": "A JSON merge patch (RFC 7396): the fields of a spec that change; null removes a field.",
    "examples": [{"dataset": {"seed": 4}}],
}

FOLLOWING = {
    "job_id": ("get_job", "cancel_job", "rerun_job", "delete_job", "list_job_events", "get_result", "get_figure"),
    "batch_id": ("get_batch", "cancel_batch"),
}
"""What can be done next with the ``id`` that an answer carries."""
MADE_BY = {"submit_job": "job_id", "rerun_job": "job_id", "submit_batch": "batch_id"}
SIGNATURE = {
    "webhook-id": ("The same over all attempts: drop what you have seen.", "msg_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"),
    "webhook-timestamp": ("Unix seconds of this attempt.", "1795426200"),
    "webhook-signature": (
        "`v1,` and the base64 of HMAC-SHA256 of `{webhook-id}.{webhook-timestamp}.{body}`.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}
"""Headers of an announcement: what each says, and an example."""


def publish(app: FastAPI) -> None:
    """Have the application publish this schema."""

    def schema() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _schema(app)
        return app.openapi_schema

    app.openapi = schema  # type: ignore[method-assign]


def _schema(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, tags=TAGS, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    read_here = [(model, "validation") for model in (JobSpec, BatchRequest, NewKey)]
    answered = [(model, "serialization") for model in (Job, Problem)]
    _, definitions = models_json_schema([*read_here, *answered], ref_template=REFERENCE)  # type: ignore[list-item]
    for name, definition in definitions["$defs"].items():
        schemas.setdefault(name, definition)
    schemas["MergePatch"] = MERGE_PATCH_SCHEMA
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "ApiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, where the service needs one. Routes name the scope that it needs; "
            "`admin` is enough for all.",
        }
    }
    components["headers"] = OF_EVERY_ANSWER
    document["webhooks"] = {"jobEnded": {"post": _announcement(schemas["Job"])}}
    _tidy(document["paths"])
    routes = (route for route in app.state.routes if isinstance(route, APIRoute) and route.include_in_schema)
    for route in routes:
        for method in route.methods or ():
            _name_scopes(document["paths"][route.path][method.lower()], scopes_of(route.dependant))
    return document


def _name_scopes(operation: dict[str, Any], scopes: Sequence[str]) -> None:
    """Which keys may call: any of these scopes is enough; no key where the service needs none."""
    if scopes:
        operation["security"] = [{"ApiKey": [scope]} for scope in scopes] + [{}]
    needed = [scope for way in operation.get("security", ()) for scope in way.get("ApiKey", ())]
    if len(needed) == 1:
        (example,) = operation["responses"]["403"]["content"][PROBLEM_TYPE]["examples"].values()
        example["value"]["detail"] = lacks(needed, "web", ["submit" if needed == ["read"] else "read"])


def _announcement(job: dict[str, Any]) -> dict[str, Any]:
    """What a spec's ``webhook`` has posted: the type of the job's end, and the job without its longest fields."""
    names = [name for name in job["properties"] if name not in SKIPPED_FIELDS]
    data = {"type": "object", "properties": {name: job["properties"][name] for name in names}, "required": names}
    types = sorted(f"job.{status}" for status in TERMINAL)
    properties = {
        "type": {"type": "string", "enum": types, "description": "How the job ended."},
        "timestamp": {"type": "string", "format": "date-time", "description": "When the job ended."},
        "data": data | {"description": "The job, without its spec."},
    }
    ended = example_job("succeeded")
    example = {
        "type": "job.succeeded",
        "timestamp": ended["finished_at"],
        "data": {name: ended[name] for name in names},
    }
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "summary": "A job has ended",
        "description": "Sent to the `webhook` of the spec, signed as Standard Webhooks says, up to eight times.",
        "operationId": "job_ended",
        "tags": ["webhooks"],
        "parameters": [_signed(name, *about) for name, about in SIGNATURE.items()],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "responses": {
            "2XX": {"description": "Received. Answer within seconds, and work on it afterwards."},
            "410": {"description": "No more attempts, please."},
            "default": {"description": "Not received: it is sent again later."},
        },
    }


def _signed(name: str, description: str, example: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {
        "name": name, "in": "header", "required": True, "description": description, "schema": schema, "example": example
    }  # fmt: skip


def _tidy(paths: dict[str, Any]) -> None:
    for path, operations in paths.items():
        for operation in operations.values():
            if parameter := MADE_BY.get(operation["operationId"]):
                operation["responses"]["202"]["links"] = _links(parameter)
            for answer in operation["responses"].values():
                _name_instance(answer, path)
                shared = {name: {"$ref": f"#/components/headers/{name}"} for name in OF_EVERY_ANSWER}
                answer["headers"] = answer.get("headers", {}) | shared


def _name_instance(answer: dict[str, Any], path: str) -> None:
    """A problem's example names the route that it stands at."""
    ids = {"{job_id}": EXAMPLE_JOB_ID, "{batch_id}": EXAMPLE_BATCH_ID}
    for parameter, example in (ids | {"{name}": "gpt5", "{key}": "ana-laptop"}).items():
        path = path.replace(parameter, example)
    for content in answer.get("content", {}).values():
        for example in content.get("examples", {}).values():
            example["value"]["instance"] = path


def _links(parameter: str) -> dict[str, Any]:
    return {
        following: {"operationId": following, "parameters": {parameter: "$response.body#/id"}}
        for following in FOLLOWING[parameter]
    }
