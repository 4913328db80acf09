"""Each limit on requests is configured by its variable, which the refusal names, over HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, live_service, spec

pytestmark = pytest.mark.integration

LIMITS = {
    "max_body_bytes": "4000",
    "max_json_depth": "8",
    "max_examples": "20",
    "max_tokens": "500",
    "max_batch_tokens": "1000",
    "max_cells": "100",
    "max_result_bytes": "6500",
}
SWEEP = {"sweep": {"hook": "z", "layers": "all", "heads": "all"}}


@pytest.fixture(scope="module")
def strict(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service of which every limit is small."""
    with live_service(valkey, tmp_path_factory.mktemp("limits") / "log", **LIMITS) as service:
        yield service


def _ioi(examples: int, **changes: Any) -> dict[str, Any]:
    return spec(dataset={"kind": "ioi", "examples": examples, "seed": 0}, **changes)


def _patch(**ends: Any) -> dict[str, Any]:
    return {"senders": SWEEP, "receivers": [{"hook": "q", "layer": 3, "head": 1}], **ends}


REFUSED = [
    ("max_body_bytes", 413, {"content": b'{"tags": "' + b"x" * 4000 + b'"}'}),
    ("max_body_bytes", 413, {"content": (b"x" * 1000 for _ in range(5))}),
    ("max_json_depth", 400, {"content": b"[" * 9 + b"]" * 9}),
    ("max_examples", 422, {"json": _ioi(21)}),
    ("max_tokens", 422, {"json": _ioi(20)}),
    ("max_cells", 422, {"json": _ioi(2, patch=_patch(receivers={"sweep": {"hook": "q"}}))}),
    ("max_result_bytes", 422, {"json": _ioi(10, patch=_patch(), output={"per_example": True})}),
]


@pytest.mark.parametrize(("limit", "status", "body"), REFUSED)
def test_what_is_beyond_a_limit_is_refused_by_its_name(
    strict: LiveService, store: JobStore, limit: str, status: int, body: dict[str, Any]
) -> None:
    """Whoever meets a limit learns which knob the operator has; nothing is queued."""
    headers = {"Content-Type": "application/json"}
    answer = strict.client.post("/v1/jobs", headers=headers, **body)
    assert answer.status_code == status, answer.text
    assert f"PATHPATCH_{limit.upper()}" in answer.json()["detail"]
    assert strict.client.get("/v1/jobs").json()["data"] == []
    assert strict.client.post("/v1/jobs", json=spec()).status_code == 202


def test_a_compressed_body_is_refused_before_it_is_unpacked(strict: LiveService, store: JobStore) -> None:
    """A few kilobytes can hold gigabytes."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = strict.client.post("/v1/jobs", headers=headers, content=b"\x1f\x8b")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_a_body_without_a_media_type_is_told_so(strict: LiveService, store: JobStore) -> None:
    """An empty string that nobody sent would be looked for in vain."""
    answer = strict.client.post("/v1/jobs", content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.json()["detail"] == "Content-Type is missing: it must be application/json"


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate", "/v1/keys"])
def test_a_body_that_is_wrong_as_a_whole_is_told_without_a_pointer(
    strict: LiveService, store: JobStore, path: str
) -> None:
    """There is no field to name."""
    answer = strict.client.post(path, json=[])
    assert answer.json()["detail"].startswith("[] is not an object")
    assert [error["pointer"] for error in answer.json()["errors"]] == [""]


def test_a_batch_is_refused_as_soon_as_its_prompts_are_too_many(strict: LiveService, store: JobStore) -> None:
    """A thousand small specs can name tens of millions of prompts, all of which the service would hold at once."""

    def answer_to(jobs: int) -> httpx.Response:
        batch = {"jobs": [_ioi(10, tags={"job": str(number)}) for number in range(jobs)]}
        return strict.client.post("/v1/batches", json=batch)

    assert answer_to(2).status_code == 202
    refused = answer_to(5)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/jobs"]
    assert "1,000 tokens in all (PATHPATCH_MAX_BATCH_TOKENS)" in refused.json()["detail"]
