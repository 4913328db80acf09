"""How well the service foretells an experiment's time: the machine's speed that each of unlike jobs implies.

Run: ``python -m benchmarks.estimates``. Of a good estimate all jobs imply the same speed; the worst should be within
twice, either way, of the middle one. Processor time on one thread, so that other programs matter little.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from api_schemas.models import parse_registry
from api_schemas.spec import ModelSpec
from tests.shards import PLENTY
from tests.specs_of_demo import check
from worker.jobs.run import run_shard
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


def implied_speeds() -> dict[str, float]:
    """Estimated operations per second of processor time, by job, on the demo model."""
    speeds = {}
    with tempfile.TemporaryDirectory() as folder:
        demo = load_model("demo", ModelSpec(name="demo"), parse_registry(""), "cpu", Path(folder)).weights
    for name in ("skip-only", *JOBS):  # the first run also warms up, and is measured again
        examples, patch, metric, more = JOBS[name]
        checked = check(dataset={"kind": "ioi", "examples": examples}, patch=patch, metric=metric, **more)
        began = time.process_time()
        run_shard(demo, checked.spec, checked.dataset, checked.dataset.longest, "patch", b"", PLENTY)
        speeds[name] = checked.estimated_flops / (time.process_time() - began)
    return speeds


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    speeds = implied_speeds()
    middle = sorted(speeds.values())[len(speeds) // 2]
    for name, speed in speeds.items():
        print(f"{name:25} {speed / 1e9:7.1f} GFLOP/s   {speed / middle:.2f} of the middle one")


if __name__ == "__main__":
    main()
