"""The acceptance experiments on real GPT-2 small: their specs, and their results against published figures.

The figures, each with its source, are in ``data/acceptance.json``; the 800 values per curve that the founding
notebook recorded are in ``data/recorded_10_7.json``. Prompts of sampled data sets differ from the published ones, so
means are compared within a tolerance, and single heads by sign and rank.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from pathpatch.results import Result

EIGHT_PROMPTS = (
    ("When John and Mary went to the shops, John gave the bag to", " Mary", " John"),
    ("When John and Mary went to the shops, Mary gave the bag to", " John", " Mary"),
    ("When Tom and James went to the park, James gave the ball to", " Tom", " James"),
    ("When Tom and James went to the park, Tom gave the ball to", " James", " Tom"),
    ("When Dan and Sid went to the shops, Sid gave an apple to", " Dan", " Sid"),
    ("When Dan and Sid went to the shops, Dan gave an apple to", " Sid", " Dan"),
    ("After Martin and Amy went to the park, Amy gave a drink to", " Martin", " Amy"),
    ("After Martin and Amy went to the park, Martin gave a drink to", " Amy", " Martin"),
)
"""Prompt, right answer and wrong answer of TransformerLens' activation-patching demo; neighbours are counterparts."""

Spec = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One figure: what was expected, what came out, and whether it is near enough."""

    figure: str
    expected: str
    got: str
    tolerance: str
    ok: bool
    source: str


@cache
def published() -> dict[str, Any]:
    """The figures to compare with, and where they come from."""
    figures: dict[str, Any] = _data("acceptance.json")
    return figures


def _data(name: str) -> Any:
    return json.loads((files("pathpatch") / "data" / name).read_text(encoding="utf-8"))


def specs(model: str = "gpt2-small") -> dict[str, Spec]:
    """The experiments, by name."""
    experiments = {
        "recorded_10_7": _notebook(),
        "whole_task": _whole_task(),
        "eight_prompts": _eight_prompts(),
        "single_heads": _single_heads(),
    }
    return {name: {"model": {"name": model}, **spec} for name, spec in experiments.items()}


def _node(hook: str, name: str) -> dict[str, Any]:
    layer, head = map(int, name.split("."))
    return {"hook": hook, "layer": layer, "head": head}


def _ioi(examples: int) -> dict[str, Any]:
    return {"kind": "ioi", "examples": examples, "seed": 0}


def _notebook() -> Spec:
    return {
        "dataset": _ioi(800),
        "patch": {"senders": [_node("z", name) for name in ("9.6", "9.9", "10.10")], "receivers": [_node("q", "10.7")]},
        "metric": {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"},
    }


def _whole_task() -> Spec:
    """Of this one the orig run is read: how well the model does the task, and where its name movers look."""
    heads = [dict(zip(("layer", "head"), map(int, name.split(".")), strict=True)) for name in _name_movers()]
    looking = [{"kind": "attention", "query": "end", "key": "IO", "head": head} for head in heads]
    return {
        "dataset": _ioi(800),
        "patch": {"senders": [_node("z", "9.9")], "receivers": [{"hook": "resid_post", "layer": 11}]},
        "metrics": [{"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}, *looking],
        "output": {"per_example": True},
    }


def _name_movers() -> list[str]:
    heads: list[str] = published()["name_movers"]["heads"]
    return heads


def _eight_prompts() -> Spec:
    """Of this one orig and new are read: new is each prompt's counterpart, whose logit difference is the negative."""
    prompts, right, wrong = map(list, zip(*EIGHT_PROMPTS, strict=True))
    counterparts = [prompts[i ^ 1] for i in range(len(prompts))]
    return {
        "dataset": {
            "kind": "prompts", "orig": prompts, "new": counterparts, "prepend_bos": True,
            "roles": {"end": {"strings": [" to"] * len(prompts), "occurrence": -1}},
            "answers": {"right": right, "wrong": wrong},
        },
        "patch": {"senders": [_node("z", "9.9")], "receivers": [{"hook": "resid_post", "layer": 11}]},
        "metric": {"kind": "logit_diff", "answer": "right", "minus_answer": "wrong"},
    }  # fmt: skip


def _single_heads() -> Spec:
    return {
        "dataset": _ioi(200),
        "patch": {
            "senders": {"sweep": {"hook": "z", "layers": "all", "heads": "all"}},
            "receivers": [{"hook": "resid_post", "layer": 11}],
        },
        "metric": {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"},
    }


def compare(results: Mapping[str, Result]) -> list[Finding]:
    """Every figure that can be read from the results, beside the published one."""
    return [
        *_compare_notebook(results["recorded_10_7"]),
        *_compare_task(results["whole_task"]),
        *_compare_eight(results["eight_prompts"]),
        *_compare_heads(results["single_heads"]),
    ]


def near(figure: str, expected: float, got: float, tolerance: float, source: str) -> Finding:
    """A figure that may differ by the tolerance."""
    ok = bool(abs(got - expected) <= tolerance)
    return Finding(figure, f"{expected:.4g}", f"{got:.4g}", f"± {tolerance:g}", ok, source)


def _compare_notebook(result: Result) -> list[Finding]:
    known = published()["recorded_10_7"]
    recorded = _data(known["file"])
    findings = []
    for run, got in (("orig", result.orig), ("patched", result.patched)):
        for name, statistic in (("mean", np.mean), ("median", np.median), ("sd", np.std)):
            figure = f"10.7 attention IO - S1, {run}, {name}"
            expected = float(statistic(recorded[run]))
            findings.append(near(figure, expected, float(statistic(got)), known["tolerance"], known["source"]))
    return findings


def _compare_task(result: Result) -> list[Finding]:
    logit_diff, *looking = result.blocks
    known = published()["logit_diff_mean"]
    low, high, tolerance = known["low"], known["high"], known["tolerance"]
    mean = float(np.mean(logit_diff.orig))
    ok = low - tolerance <= mean <= high + tolerance
    share, movers = published()["io_preferred"], published()["name_movers"]
    attention = float(np.mean([np.mean(block.orig) for block in looking]))
    name = f"attention end -> IO of {', '.join(_name_movers())}"
    return [
        Finding("mean logit_diff", f"{low:g} to {high:g}", f"{mean:.4g}", f"± {tolerance:g}", ok, known["source"]),
        near("IO preferred", share["value"], float(np.mean(logit_diff.orig > 0)), share["tolerance"], share["source"]),
        near(name, movers["value"], attention, movers["tolerance"], movers["source"]),
    ]


def _compare_eight(result: Result) -> list[Finding]:
    known = published()["eight_prompts"]
    runs = (("orig", result.orig), ("new", result.new))
    return [
        near(f"logit_diff of 8 prompts, {run}", known[run], float(np.mean(got)), known["tolerance"], known["source"])
        for run, got in runs
    ]


def _compare_heads(result: Result) -> list[Finding]:
    known = published()["single_heads"]
    expected = {name: patched - known["baseline"] for name, patched in known["patched"].items()}
    layers, heads = result.coordinates["sender_layer"], result.coordinates["sender_head"]
    effect = {name: float(result.effect[_place(name, layers, heads)]) for name in expected}
    findings = []
    for name, change in expected.items():
        ok = bool(np.sign(change) == np.sign(effect[name]))
        figure = f"{name} into the final residual stream: change of logit_diff"
        findings.append(Finding(figure, f"{change:+.3g}", f"{effect[name]:+.3g}", "same sign", ok, known["source"]))
    for figure, expected_name, order in (("strongest for IO", "9.9", 1), ("strongest against IO", "10.7", -1)):
        got = min(_all_effects(result), key=lambda pair: order * pair[1])[0]
        findings.append(Finding(figure, expected_name, got, "same head", got == expected_name, known["source"]))
    return findings


def _place(name: str, layers: list[int], heads: list[int]) -> tuple[int, int]:
    layer, head = map(int, name.split("."))
    return layers.index(layer), heads.index(head)


def _all_effects(result: Result) -> list[tuple[str, float]]:
    return [(result.block.name_of(place), float(result.effect[place])) for place in np.ndindex(result.shape)]
