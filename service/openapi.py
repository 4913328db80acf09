"""The published schema: FastAPI's, with the bodies that the service reads itself, and without what it never answers."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api_schemas.accounts import NewKey
from api_schemas.errors import Problem
from api_schemas.jobs import BatchRequest, Job
from api_schemas.spec import JobSpec
from service.documented import OF_EVERY_ANSWER

REFERENCE = "#/components/schemas/{model}"

DESCRIPTION = """\
Exact path patching of GPT-2 models, as jobs.

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


FOLLOWING = {
    "job_id": ("get_job", "cancel_job", "delete_job", "list_job_events", "get_result", "get_figure"),
    "batch_id": ("get_batch", "cancel_batch"),
}
"""What can be done next with the ``id`` that an answer carries."""
MADE_BY = {"submit_job": "job_id", "submit_batch": "batch_id"}


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
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "ApiKey": {"type": "http", "scheme": "bearer", "description": "An API key, where the service needs one."}
    }
    components["headers"] = OF_EVERY_ANSWER
    _tidy(document["paths"])
    return document


def _tidy(paths: dict[str, Any]) -> None:
    for path, operations in paths.items():
        for operation in operations.values():
            if path.startswith("/v1/") or path == "/metrics":
                operation["security"] = [{"ApiKey": []}, {}]
            if parameter := MADE_BY.get(operation["operationId"]):
                operation["responses"]["202"]["links"] = _links(parameter)
            for answer in operation["responses"].values():
                shared = {name: {"$ref": f"#/components/headers/{name}"} for name in OF_EVERY_ANSWER}
                answer["headers"] = answer.get("headers", {}) | shared


def _links(parameter: str) -> dict[str, Any]:
    return {
        following: {"operationId": following, "parameters": {parameter: "$response.body#/id"}}
        for following in FOLLOWING[parameter]
    }
