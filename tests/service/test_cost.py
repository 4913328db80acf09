"""The estimate of work must grow as the time does: cuts and estimated seconds follow it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from api_schemas.models import parse_registry
from api_schemas.spec import ModelSpec
from service.speeds import CPU_FLOPS_PER_SECOND
from tests.shards import PLENTY
from tests.specs_of_demo import check
from worker.engine.weights import GPT2Weights
from worker.experiment import run_shard
from worker.models import load_model

HEADS = {"sweep": {"hook": "z"}}
QUERY = [{"hook": "q", "layer": 2, "head": 3}]
END = [{"hook": "resid_post", "layer": 3}]
ATTENTION = {"kind": "attention", "query": "end", "key": "IO"}
LOGITS = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}


def path(senders: Any, receivers: Any, through_mlps: bool = False) -> dict[str, Any]:
    return {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps}


JOBS: dict[str, tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "one cell": (300, path([{"hook": "z", "layer": 1, "head": 2}], QUERY), ATTENTION, {}),
    "skip-only": (200, path(HEADS, QUERY), ATTENTION, {}),
    "through MLPs": (200, path(HEADS, END, True), LOGITS, {}),
    "logits": (60, path(HEADS, QUERY), LOGITS, {}),
    "probabilities": (60, path(HEADS, QUERY), {"kind": "prob", "answer": "IO"}, {}),
    "edges": (100, path(HEADS, {"sweep": {"hook": ["q", "k"]}}), ATTENTION, {}),
    "edges through MLPs": (200, path(HEADS, {"sweep": {"hook": "q"}}, True), ATTENTION, {}),
    "edges to logits": (10, path(HEADS, {"sweep": {"hook": "v"}}), LOGITS, {}),
    "neurons through MLPs": (20, path({"sweep": {"hook": "post", "neurons": "all"}}, END, True), LOGITS, {}),
    "activations": (40, {"kind": "activation", "nodes": HEADS}, LOGITS, {}),
    "attribution": (20, path(HEADS, {"sweep": {"hook": "q"}}), LOGITS, {"method": "attribution"}),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GPT2Weights]:
    """The demo model, on one thread: its processor time is then the time on an idle machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("models")
    yield load_model("demo", ModelSpec(name="demo"), parse_registry(""), "cpu", folder).weights
    torch.set_num_threads(threads)


def test_the_estimates_of_unlike_jobs_agree_on_the_speed_of_the_machine(demo: GPT2Weights) -> None:
    """Each within twice, either way, of the speed that all of them imply."""
    speeds = {}
    for name in ("skip-only", *JOBS):  # the first run also warms up, and is measured again
        examples, patch, metric, more = JOBS[name]
        checked = check(dataset={"kind": "ioi", "examples": examples}, patch=patch, metric=metric, **more)
        began = time.process_time()
        run_shard(demo, checked.spec, checked.dataset, checked.dataset.longest, "patch", {}, PLENTY)
        speeds[name] = checked.estimated_flops / (time.process_time() - began)
    middle = sorted(speeds.values())[len(speeds) // 2]
    ratios = {name: round(speed / middle, 2) for name, speed in speeds.items()}
    assert all(0.5 < ratio < 2 for ratio in ratios.values()), ratios
    assert middle > CPU_FLOPS_PER_SECOND / 4


def test_work_grows_with_what_is_asked() -> None:
    """Also where it cannot be timed here."""
    base = check(dataset={"kind": "ioi", "examples": 20}, patch=path(HEADS, END), metric=LOGITS)

    def ratio(**changes: Any) -> float:
        fields: dict[str, Any] = {"patch": path(HEADS, END), "metric": LOGITS} | changes
        return check(dataset={"kind": "ioi", "examples": 20}, **fields).estimated_flops / base.estimated_flops

    assert ratio(patch={**path(HEADS, END), "source": "mean"}) > 1.5, "the means are a phase of their own"
    assert ratio(metric=None, metrics=[LOGITS, {"kind": "loss"}]) > 2, "every position's logits"
    assert ratio(patch={**path(HEADS, END), "positions": "end"}) <= 1
    estimate = {"method": "attribution", "patch": path(HEADS, {"sweep": {"hook": "q"}})}
    assert ratio(**estimate, verify=100) > ratio(**estimate)
