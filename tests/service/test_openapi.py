"""The published schema is true: schemathesis finds no answer that it does not describe, and a generator can use it."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from api_schemas.jobs import TERMINAL, Job
from job_store.store import JobStore
from service.app import create_app
from service.errors import PROBLEM_TYPE
from service.http.documented import EXAMPLE_SPEC
from service.results.formats import CSV_ARRAYS
from service.settings import Settings
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import ROOT, LiveService, WorkerHand, live_service

SCHEMATHESIS = [
    "run", "--seed=1", "--no-color", "--checks=all", "--suppress-health-check=all", "--request-timeout=30",
    "--max-response-time=20",
    "--exclude-checks=positive_data_acceptance",  # the schema cannot say which heads a model has: 422 is right
]  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema, without starting anything."""
    document: dict[str, Any] = create_app(Settings()).openapi()
    return document


def _operations(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    ]


def test_every_route_under_v1_names_the_scope_that_it_needs(schema: dict[str, Any]) -> None:
    """Where it is one, the example of 403 tells it too; that it is so, ``test_keys.py`` shows."""
    for name, operation in _operations(schema):
        scopes = [scope for way in operation.get("security", ()) for scope in way.get("ApiKey", ())]
        assert bool(scopes) == (" /v1/" in name or name == "GET /metrics"), name
        if len(scopes) == 1:
            (refused,) = operation["responses"]["403"]["content"][PROBLEM_TYPE]["examples"].values()
            assert refused["value"]["detail"].startswith(f"this needs the scope {scopes[0]!r}: "), name


def test_every_route_is_described_for_people(schema: dict[str, Any]) -> None:
    """A summary, a description and a tag each; ids are unique, for generated clients."""
    operations = _operations(schema)
    for name, operation in operations:
        assert operation["summary"] and operation["description"] and operation["tags"], name
    ids = [operation["operationId"] for _, operation in operations]
    assert len(set(ids)) == len(ids)
    described = {tag["name"] for tag in schema["tags"]}
    assert {tag for _, operation in operations for tag in operation["tags"]} == described


def test_every_error_is_a_documented_problem_with_an_example(schema: dict[str, Any]) -> None:
    """Nobody should have to provoke an error to see what it looks like."""
    for name, operation in _operations(schema):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and name != "GET /readyz":
                content = answer["content"][PROBLEM_TYPE]
                assert content["schema"]["$ref"].endswith("/Problem"), (name, status)
                for code, example in content["examples"].items():
                    assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))
                    assert f"`{code}`" in answer["description"], (name, status)
            if status in ("429", "503"):
                assert "Retry-After" in answer["headers"], (name, status)


def test_every_route_that_needs_a_key_says_what_happens_without(schema: dict[str, Any]) -> None:
    """401 and 403 are part of the contract."""
    for name, operation in _operations(schema):
        if "/v1/" in name:
            assert {"401", "403", "503"} <= set(operation["responses"]), name


def test_every_parameter_header_and_answer_has_a_description_and_an_example(schema: dict[str, Any]) -> None:
    """Read before anything is tried; arrays of numbers (npz) are for programs."""
    shared = schema["components"]["headers"]
    for name, operation in _operations(schema):
        for parameter in operation.get("parameters", []):
            assert parameter["description"] and _has_example(schema, parameter), (name, parameter["name"])
        for status, answer in operation["responses"].items():
            for header, described in answer["headers"].items():
                found = shared.get(header) if "$ref" in described else described
                assert found["description"] and "example" in found, (name, status, header)
            for media, content in answer.get("content", {}).items():
                assert media == "application/x-npz" or _has_example(schema, content), (name, status, media)


def test_the_examples_of_jobs_are_jobs_as_they_are_answered(schema: dict[str, Any]) -> None:
    """Made of the examples of its fields, a job would run and have ended at the same time."""
    statuses = set()
    for _, operation in _operations(schema):
        for answer in operation["responses"].values():
            content = answer.get("content", {}).get("application/json", {})
            if str(content.get("schema", {}).get("$ref", "")).endswith("/Job"):
                job = Job.model_validate_json(json.dumps(content["example"]))
                assert job.done == (job.finished_at is not None) == (job.status in TERMINAL)
                statuses.add(job.status)
    assert statuses == {"queued", "running", "succeeded", "cancelling", "cancelled"}


@pytest.mark.parametrize(
    ("name", "status", "codes"),
    [
        ("POST /v1/jobs", "404", {"unknown_job"}),
        ("POST /v1/jobs", "409", {"idempotency_key_in_flight"}),
        ("POST /v1/jobs", "422", {"idempotency_key_reused", "invalid_parameter", "invalid_spec"}),
        ("DELETE /v1/jobs/{job_id}", "409", {"job_still_running"}),
        ("POST /v1/jobs/{job_id}/cancel", "409", {"job_not_cancellable"}),
        ("GET /v1/jobs/{job_id}/result", "409", {"no_result"}),
        ("GET /v1/jobs/{job_id}/events", "429", {"rate_limited"}),
        ("GET /v1/batches/{batch_id}", "404", {"unknown_batch"}),
        ("GET /v1/models/{name}", "404", {"not_found"}),
        ("GET /livez", "422", {"invalid_parameter"}),
    ],
)
def test_each_route_names_its_own_codes(schema: dict[str, Any], name: str, status: str, codes: set[str]) -> None:
    """One status means another thing on another route."""
    content = dict(_operations(schema))[name]["responses"][status]["content"][PROBLEM_TYPE]
    assert set(content["examples"]) == codes


def test_the_example_of_csv_has_the_columns_that_come(schema: dict[str, Any]) -> None:
    """Somebody writes a parser from it."""
    columns = ["metric", "title", "example", *CSV_ARRAYS]
    example = schema["paths"]["/v1/jobs/{job_id}/result"]["get"]["responses"]["200"]["content"]["text/csv"]["example"]
    header, row = csv.reader(io.StringIO(example))
    assert header == columns and len(row) == len(columns)


def test_the_example_of_a_webhook_fits_its_schema(schema: dict[str, Any]) -> None:
    """Receivers are generated from it."""
    posted = schema["webhooks"]["jobEnded"]["post"]
    content = posted["requestBody"]["content"]["application/json"]
    validator = Draft202012Validator({**content["schema"], "components": schema["components"]})
    validator.validate(content["example"])
    assert {parameter["name"] for parameter in posted["parameters"]} >= {"webhook-id", "webhook-signature"}


def _has_example(schema: dict[str, Any], described: dict[str, Any]) -> bool:
    """Whether it, or every field that it consists of, has one, or can be one value only, or has a default."""
    if "$ref" in described:
        described = schema["components"]["schemas"][described["$ref"].rpartition("/")[2]]
    if set(described) & {"example", "examples", "const", "enum", "default"}:
        return True
    if "schema" in described or "items" in described:
        return _has_example(schema, described.get("schema") or described["items"])
    if branches := described.get("anyOf") or described.get("oneOf"):
        return any(_has_example(schema, branch) for branch in branches)
    fields = described.get("properties", {})
    return bool(fields) and all(_has_example(schema, field) for field in fields.values())


def test_every_field_of_the_contract_has_a_description(schema: dict[str, Any]) -> None:
    """The documentation is made from the models."""
    for name, component in schema["components"]["schemas"].items():
        for field, described in component.get("properties", {}).items():
            assert described.get("description") or "$ref" in described, (name, field)


@pytest.mark.integration
def test_the_example_of_the_documentation_runs(client: httpx.Client) -> None:
    """The first thing that a reader tries out."""
    assert client.post("/v1/jobs", json=EXAMPLE_SPEC).status_code == 202


@pytest.fixture
def impatient(valkey: EmbeddedValkey, store: JobStore, tmp_path: Path) -> Iterator[LiveService]:
    """A service that lets nobody wait for long, so that thousands of requests take a minute."""
    with live_service(valkey, tmp_path / "service.log", max_wait_s="0.1") as service:
        yield service


def _schemathesis(service: LiveService, tmp_path: Path, *options: str, hooks: str = "") -> None:
    (tmp_path / "schemathesis.toml").write_text(f'hooks = "{hooks}"\n' if hooks else "")
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, *SCHEMATHESIS, *options, f"{service.url}/openapi.json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-2000:]


@pytest.mark.integration
@pytest.mark.slow
def test_schemathesis_finds_no_undescribed_answer(impatient: LiveService, tmp_path: Path) -> None:
    """Thousands of requests, right and wrong ones, over HTTP: no 500, nothing that the schema does not say."""
    _schemathesis(impatient, tmp_path, "--phases=examples,coverage,fuzzing", "--max-examples=5")


@pytest.mark.integration
@pytest.mark.slow
def test_schemathesis_finds_no_undescribed_answer_in_sequences_of_requests(
    impatient: LiveService, worker: WorkerHand, tmp_path: Path
) -> None:
    """Submit, then look, cancel, erase, fetch, in any order, while jobs end with results."""
    hooks = "tests.service.schemathesis_hooks"
    options = ("--phases=stateful", "--mode=positive", "--max-examples=15", "--max-time=20")
    is_over, rounds = threading.Event(), 0
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(_work_until, is_over, worker)
        try:
            while rounds == 0 or (_unreached(impatient) and rounds < MOST_ROUNDS):
                _schemathesis(impatient, tmp_path, *options, hooks=hooks)
                rounds += 1
        finally:
            is_over.set()
        work.result()
    assert not _unreached(impatient)


MOST_ROUNDS = 6
"""Of random sequences; a busy machine gets through few of them in one."""


def _unreached(service: LiveService) -> list[str]:
    """Routes of results that no request has had an answer from yet."""
    routes = ("/v1/jobs/{job_id}/result", "/v1/jobs/{job_id}/figure", "/v1/batches/{batch_id}")
    told = service.client.get("/metrics").text
    counted = 'pathpatch_http_requests_total{{method="GET",route="{}",status="200"}}'
    return [route for route in routes if counted.format(route) not in told]


def _work_until(is_over: threading.Event, worker: WorkerHand) -> None:
    while not is_over.wait(0.3):
        worker.work_off()


GENERATE = ["generate", "--path", "openapi.json", "--meta", "none", "--output-path", "made", "--fail-on-warning"]
USE = """
import json, sys
from made import Client
from made.api.jobs import cancel_job, get_job, list_jobs, submit_job
from made.api.results import get_result
from made.models import Job, JobSpec, Problem, Result

address, spec = sys.argv[1:]
client = Client(base_url=address)
job = submit_job.sync(client=client, body=JobSpec.from_dict(json.loads(spec)))
assert isinstance(job, Job), job
print(job.id)
sys.stdin.readline()  # until the job has ended
again = get_job.sync(job.id, client=client)
assert isinstance(again, Job) and again.status == "succeeded" and again.spec.model.name == "demo", again
result = get_result.sync(job.id, client=client)
assert isinstance(result, Result) and result.patched[0] == 0.12345679, result
assert [found.id for found in list_jobs.sync(client=client).data] == [job.id]
refused = cancel_job.sync(job.id, client=client)
assert isinstance(refused, Problem) and refused.code == "job_not_cancellable", refused
"""


@pytest.mark.integration
def test_a_generated_client_submits_a_job_and_reads_its_result(
    service: LiveService, worker: WorkerHand, tmp_path: Path
) -> None:
    """Other languages and services start from the schema; openapi-python-client stands for their generators."""
    (tmp_path / "openapi.json").write_text(httpx.get(f"{service.url}/openapi.json").text)
    programs = Path(sys.executable).parent
    made = subprocess.run(
        [programs / "openapi-python-client", *GENERATE],
        cwd=tmp_path, env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    (tmp_path / "use.py").write_text(USE)
    command = [sys.executable, "use.py", service.url, json.dumps(EXAMPLE_SPEC)]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None and program.stdout is not None
        assert program.stdout.readline().startswith("job_")
        worker.work_off()
        program.stdin.write("\n")
        program.stdin.close()
        assert program.wait(30) == 0
