"""How well the service foretells an experiment's time: the machine's speed that each of unlike jobs implies.

Run: ``python -m benchmarks.estimates [--family llama]``: of the demo model, or of a Llama of SmolLM2-135M's size. Of a
good estimate all jobs imply the same speed; the worst should be within twice, either way, of the middle one. Processor
time on one thread, so that other programs matter little.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import parse_registry
from api_schemas.spec import JobSpec, ModelSpec
from benchmarks.experiments import random_prompts, spec_of
from benchmarks.families import CONFIGS, random_model_of, weights_of
from planning.cost import phase_flops
from tests.shards import PLENTY, run_shard
from tests.specs_of_demo import check
from worker.engine.model import Weights
from worker.models.loading import load_model

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
    "edges to one head": (
        100,
        path(HEADS, {"sweep": {"hook": "q"}}),
        ATTENTION | {"head": {"layer": 1, "head": 0}},
        {},
    ),
    "activations": (40, {"kind": "activation", "nodes": HEADS}, LOGITS, {}),
    "attribution": (20, path(HEADS, {"sweep": {"hook": "q"}}), LOGITS, {"method": "attribution"}),
    "attribution through MLPs": (20, path(HEADS, QUERY, True), LOGITS, {"method": "attribution"}),
}
"""Examples, patch, metric and further fields of the spec."""
LATE = [{"hook": "q", "layer": 24, "head": 4}]
LAST = [{"hook": "resid_post", "layer": 29}]
SOME_LAYERS = {"layers": [10, 20, 29]}
FAMILY_JOBS: dict[str, tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "one cell": (20, path([{"hook": "z", "layer": 23, "head": 3}], LATE), ATTENTION, {}),
    "skip-only": (20, path(HEADS, LATE), ATTENTION, {}),
    "skip-only to logits": (40, path(HEADS, LAST), LOGITS, {}),
    "through MLPs": (20, path(HEADS, LAST, True), LOGITS, {}),
    "logits": (4, path(HEADS, LATE), LOGITS, {}),
    "probabilities": (4, path(HEADS, LATE), {"kind": "prob", "answer": "IO"}, {}),
    "edges": (4, path(HEADS, {"sweep": {"hook": "q"}}), ATTENTION, {}),
    "edges of keys": (4, path(HEADS, {"sweep": {"hook": "k"}}), ATTENTION, {}),
    "edges through MLPs": (2, path(HEADS, {"sweep": {"hook": "q", **SOME_LAYERS}}, True), ATTENTION, {}),
    "edges to logits": (
        1,
        path({"sweep": {"hook": "z", "layers": [0, 10]}}, {"sweep": {"hook": "v", **SOME_LAYERS}}),
        LOGITS,
        {},
    ),
    "activations": (2, {"kind": "activation", "nodes": HEADS}, LOGITS, {}),
    "attribution": (4, path(HEADS, {"sweep": {"hook": "q"}}), LOGITS, {"method": "attribution"}),
    "attribution through MLPs": (4, path(HEADS, LATE, True), LOGITS, {"method": "attribution"}),
}
"""The same on a model of another family, with random prompts of 16 tokens."""


def implied_speeds() -> dict[str, float]:
    """Estimated operations per second of processor time, by job, on the demo model."""
    with tempfile.TemporaryDirectory() as folder:
        demo = load_model("demo", ModelSpec(name="demo"), parse_registry(""), "cpu", Path(folder)).weights
    speeds = {}
    for name in ("skip-only", *JOBS):  # the first run also warms up, and is measured again
        examples, patch, metric, more = JOBS[name]
        checked = check(dataset={"kind": "ioi", "examples": examples}, patch=patch, metric=metric, **more)
        speeds[name] = checked.estimated_flops / seconds_of_shard(demo, checked.spec, checked.dataset)
    return speeds


def implied_speeds_of(family: str) -> dict[str, float]:
    """The same on random weights of another family."""
    weights, speeds = weights_of(random_model_of(family), family), {}
    for name in ("skip-only", *FAMILY_JOBS):
        examples, patch, metric, more = FAMILY_JOBS[name]
        dataset = random_prompts(examples, CONFIGS[family]["vocab_size"])
        spec = spec_of(patch, metric, dataset, **more)
        flops = sum(phase_flops(spec, weights.architecture, dataset))
        speeds[name] = flops / seconds_of_shard(weights, spec, dataset)
    return speeds


def seconds_of_shard(weights: Weights, spec: JobSpec, dataset: ResolvedDataset) -> float:
    """Processor time of the job as one shard."""
    began = time.process_time()
    run_shard(weights, spec, dataset, dataset.longest, "patch", b"", PLENTY)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=sorted(CONFIGS))
    family = parser.parse_args().family
    torch.set_num_threads(1)
    speeds = implied_speeds() if family is None else implied_speeds_of(family)
    middle = sorted(speeds.values())[len(speeds) // 2]
    for name, speed in speeds.items():
        print(f"{name:25} {speed / 1e9:7.1f} GFLOP/s   {speed / middle:.2f} of the middle one")


if __name__ == "__main__":
    main()
