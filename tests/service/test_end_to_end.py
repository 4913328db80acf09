"""The whole way over HTTP with a real broker, service and worker: the numbers are those of the golden figures."""

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from api_schemas.models import DEMO_FOLDER
from api_schemas.results import MultiMetricResult
from service.http.documented import EXAMPLE_SPEC
from tests.embedded_valkey import embedded_valkey
from tests.golden_cases import FOLDER, TOLERANCE, GoldenCase, golden_cases
from tests.live_service import live_service
from tests.live_worker import live_workers, until
from tests.otlp_collector import Collector, Span

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SAMPLE = golden_cases()[::6]
WAIT = {"Prefer": "wait=60"}
READ_HEAD = {"layer": 3, "head": 2}
READ_TOKENS = (0, 17, 210)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """Where service and worker send their traces."""
    found = Collector()
    yield found
    found.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[httpx.Client]:
    """Broker, worker and service, traced, with the golden model registered."""
    folder = tmp_path_factory.mktemp("stack")
    registry = f"golden={FOLDER / 'model'}"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with (
            embedded_valkey(folder / "valkey") as valkey,
            live_workers(valkey.url, folder, "worker-1", MODELS=registry, TRACING="1"),
            live_service(valkey, folder / "service.log", models=registry, tracing="1") as service,
        ):
            service.client.timeout = httpx.Timeout(90)
            yield service.client


def _spec(case: GoldenCase) -> dict[str, Any]:
    """The case as a client writes it: tokens, and as answers the tokens whose logits are compared."""
    count, length = case.orig_tokens.shape
    answers = {f"token {token}": [token] * count for token in READ_TOKENS}
    nodes = {
        side: [node.model_dump(exclude_none=True) for node in ends]
        for side, ends in (("senders", case.senders), ("receivers", case.receivers))
    }
    patch = {**nodes, "direct_includes_mlps": case.direct_includes_mlps, "source": case.source}
    attention = [{"kind": "attention", "query": length - 1, "key": key, "head": READ_HEAD} for key in (0, length - 1)]
    logits = [{"kind": "logit", "answer": answer, "position": length - 1} for answer in answers]
    dataset = {"kind": "tokens", "orig": case.orig_tokens.tolist(), "new": case.new_tokens.tolist(), "answers": answers}
    return {
        "model": {"name": "golden"},
        "dataset": dataset,
        "patch": patch if case.positions is None else patch | {"positions": case.positions},
        "metrics": attention + logits,
    }


@pytest.mark.parametrize("case", SAMPLE, ids=[case.id for case in SAMPLE])
def test_golden_cases_agree_over_http(stack: httpx.Client, case: GoldenCase) -> None:
    """Every layer in between passes the numbers on as they are."""
    answer = stack.post("/v1/jobs", json=_spec(case), headers=WAIT)
    assert answer.status_code == 200, answer.text
    job = answer.json()
    assert job["status"] == "succeeded", job["error"]
    blocks = stack.get(job["links"]["result"]).json()["blocks"]
    row = case.pattern[:, READ_HEAD["layer"], READ_HEAD["head"]]
    expected = [row[:, 0], row[:, -1], *(case.logits[:, token] for token in READ_TOKENS)]
    for block, figures in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(block["patched"], figures, atol=TOLERANCE, rtol=0)


def test_the_example_of_the_documentation_shows_the_effect_of_the_model_card(stack: httpx.Client) -> None:
    """What a newcomer tries first must show something."""
    job = stack.post("/v1/jobs", json=EXAMPLE_SPEC, headers=WAIT).json()
    assert job["status"] == "succeeded", job["error"]
    summary = stack.get(job["links"]["result"]).json()["summary"]
    card = json.loads((DEMO_FOLDER / "card.json").read_text())
    assert summary["orig"]["mean"] == pytest.approx(card["orig_mean"], abs=0.05)
    assert summary["patched"]["mean"] == pytest.approx(card["patched_mean"], abs=0.1)


def test_a_small_job_takes_hardly_longer_than_its_computation(stack: httpx.Client) -> None:
    """Nobody polls anybody: submit, nudge, claim, finish and answer follow one another at once."""
    seconds = []
    for seed in range(20):
        spec = EXAMPLE_SPEC | {"dataset": {"kind": "ioi", "examples": 2, "seed": 1000 + seed}}
        started = time.perf_counter()
        assert stack.post("/v1/jobs", json=spec, headers=WAIT).json()["status"] == "succeeded"
        seconds.append(time.perf_counter() - started)
    assert float(np.median(seconds)) < 0.5


def test_figures_of_a_real_sweep_are_drawn(stack: httpx.Client) -> None:
    """A heatmap of all heads, in each format."""
    patch = EXAMPLE_SPEC["patch"] | {"senders": {"sweep": {"hook": "z"}}}
    spec = EXAMPLE_SPEC | {"patch": patch, "dataset": {"kind": "ioi", "examples": 8, "seed": 5}}
    job = stack.post("/v1/jobs", json=spec, headers=WAIT).json()
    assert job["status"] == "succeeded", job["error"]
    result = stack.get(job["links"]["result"]).json()
    assert (result["axes"], result["shape"]) == (["sender_layer", "sender_head"], [4, 8])
    for accept in ("application/json", "text/html", "image/svg+xml"):
        assert stack.get(job["links"]["figure"], headers={"Accept": accept}).status_code == 200
    rows = stack.get(job["links"]["result"], headers={"Accept": "text/csv"}).text.splitlines()
    assert len(rows) == 33 and rows[0].startswith("metric,title,sender_layer,sender_head,patched")


def test_a_result_repeats_what_validation_warned_of_and_names_each_metric(stack: httpx.Client) -> None:
    """Whoever reads the result later did not see the answer to its submission."""
    keys = [{"kind": "attention", "query": "end", "key": key} for key in ("IO", "S1")]
    late = {"hook": "z", "layer": 3, "head": 0}
    spec = EXAMPLE_SPEC | {
        "dataset": {"kind": "ioi", "examples": 8, "seed": 6},
        "patch": EXAMPLE_SPEC["patch"] | {"senders": [*EXAMPLE_SPEC["patch"]["senders"], late]},
        "metrics": [*keys, keys[0]],
        "dtype": "tf32",
    }
    spec.pop("metric")
    warnings = stack.post("/v1/jobs:validate", json=spec).json()["warnings"]
    job = stack.post("/v1/jobs", json=spec, headers=WAIT).json()
    result = MultiMetricResult.model_validate(stack.get(job["links"]["result"]).json())
    tf32 = "dtype 'tf32' exists on GPUs only: what ran on the cpu is float32"
    assert result.warnings == [*warnings, tf32] and len(warnings) == 2
    head = "head {layer}.{head}".format(**EXAMPLE_SPEC["patch"]["receivers"][0])
    assert [block.metric.title for block in result.blocks[:2]] == [
        f"attention end → {key}, {head}" for key in ("IO", "S1")
    ]
    assert {block.n_examples for block in result.blocks} == {8}


def test_one_trace_leads_from_the_request_through_the_queue_to_the_shards(
    stack: httpx.Client, collector: Collector
) -> None:
    """An operator sees in one picture where the time of a job went, whichever process spent it."""
    caller, parent = secrets.token_hex(16), secrets.token_hex(8)
    patch = EXAMPLE_SPEC["patch"] | {"source": "mean"}  # so that there are two phases
    spec = EXAMPLE_SPEC | {"patch": patch, "dataset": {"kind": "ioi", "examples": 2, "seed": 77}}
    headers = WAIT | {"traceparent": f"00-{caller}-{parent}-01"}
    job = stack.post("/v1/jobs", json=spec, headers=headers).json()
    assert job["status"] == "succeeded"

    def trace() -> list[Span]:
        return sorted((span for span in collector.spans if span.trace_id == caller), key=lambda span: span.begin_ns)

    names = ["POST /v1/jobs", "queue", "shard", "assemble", "shard"]
    until(lambda: [span.name for span in trace()] == names)
    request, queue, shard, assembly, second = trace()
    assert (request.process, queue.process) == ("pathpatch-service", "pathpatch-service")
    assert (shard.process, assembly.process) == ("pathpatch-worker", "pathpatch-worker")
    assert (request.parent_id, queue.parent_id) == (parent, request.span_id)
    assert shard.parent_id == assembly.parent_id == second.parent_id == queue.span_id
    assert shard.end_ns <= assembly.begin_ns < assembly.end_ns <= second.begin_ns < request.end_ns
    assert request.attributes["http.response.status_code"] == 200
    assert {span.attributes["pathpatch.job_id"] for span in (request, shard, assembly)} == {job["id"]}
    assert not any("prompt" in str(span.attributes) for span in collector.spans)
