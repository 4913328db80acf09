"""The acceptance experiments: well-formed specs, figures that are recognised when right and refused when wrong."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from api_schemas.spec import JobSpec
from pathpatch import acceptance, acceptance_smollm2
from pathpatch.acceptance import EIGHT_PROMPTS, compare, published, specs
from pathpatch.results import Block, Result

Floats = Any


def block(kind: str, axes: tuple[str, ...], patched: Floats, orig: Floats, new: Floats, **more: Any) -> Block:
    """A block of one metric, with what the comparison reads."""
    coordinates = {axis: list(range(size)) for axis, size in zip(axes, np.shape(patched), strict=True)}
    arrays = {name: np.asarray(value, float) for name, value in (("patched", patched), ("orig", orig), ("new", new))}
    return Block(kind=kind, unit="", normalize="none", axes=axes, coordinates=coordinates, **arrays, **more)


def as_published() -> dict[str, Result]:
    """Results exactly as the published figures say."""
    recorded = json.loads((files("pathpatch") / "data" / "recorded_10_7.json").read_text())
    notebook = block("attention_diff", ("example",), recorded["patched"], recorded["orig"], recorded["orig"])
    logit_diff = np.full(1000, 3.3)
    logit_diff[:7] = -0.1
    looking = [block("attention", ("example",), [0.59], [0.59], [0.1]) for _ in range(3)]
    task = [block("logit_diff", ("example",), logit_diff, logit_diff, -logit_diff), *looking]
    eight = block("logit_diff", ("example",), [3.5519] * 8, [3.5519] * 8, [-3.5519] * 8)
    known = published()["single_heads"]
    effects = np.zeros((12, 12))
    for name, patched in known["patched"].items():
        layer, head = map(int, name.split("."))
        effects[layer, head] = patched - known["baseline"]
    sweep = block("logit_diff", ("sender_layer", "sender_head"), known["baseline"] + effects, known["baseline"], 0.0)
    results = {"recorded_10_7": (notebook,), "whole_task": task, "eight_prompts": (eight,), "single_heads": (sweep,)}
    return {name: Result(blocks=tuple(blocks)) for name, blocks in results.items()}


@pytest.mark.parametrize("name", specs())
def test_every_acceptance_spec_is_valid(name: str) -> None:
    """They run on a machine that we do not see."""
    assert JobSpec.model_validate(specs("mine")[name]).model.name == "mine"


def test_published_figures_agree_with_themselves() -> None:
    """Every figure has a place in some result, and is recognised there."""
    findings = compare(as_published())
    assert len(findings) == 19
    assert [finding.figure for finding in findings if not finding.ok] == []
    assert all(finding.source for finding in findings)


@pytest.mark.parametrize(
    ("experiment", "spoil"),
    [
        ("recorded_10_7", lambda array: array - 0.3),
        ("whole_task", lambda array: array - 3),
        ("eight_prompts", lambda array: array + 0.02),
        ("single_heads", lambda array: -array),
    ],
)
def test_a_wrong_result_is_refused(experiment: str, spoil: Callable[[Floats], Floats]) -> None:
    """A check that cannot fail shows nothing."""
    results = as_published()
    first = results[experiment].blocks[0]
    wrong = block(first.kind, first.axes, spoil(first.patched), spoil(first.orig), spoil(first.new))
    results[experiment] = Result(blocks=(wrong, *results[experiment].blocks[1:]))
    assert not all(finding.ok for finding in compare(results))


def test_neighbouring_prompts_are_each_others_counterparts() -> None:
    """That is what makes the logit difference of new the negative of orig's."""
    for (_, right, wrong), (_, other_right, other_wrong) in zip(EIGHT_PROMPTS[::2], EIGHT_PROMPTS[1::2], strict=True):
        assert (right, wrong) == (other_wrong, other_right)


def test_the_recorded_values_are_the_notebooks() -> None:
    """800 per curve, with the means that were published."""
    recorded = json.loads((files("pathpatch") / "data" / "recorded_10_7.json").read_text())
    for run in ("orig", "patched"):
        assert len(recorded[run]) == 800
        assert np.mean(recorded[run]) == pytest.approx(published()["recorded_10_7"][f"{run}_mean"], abs=1e-6)
    assert acceptance.published()["name_movers"]["heads"] == ["9.9", "9.6", "10.0"]


@pytest.mark.parametrize("name", acceptance_smollm2.specs())
def test_every_spec_of_smollm2_is_valid(name: str) -> None:
    """The same on a real model that every machine can fetch."""
    assert JobSpec.model_validate(acceptance_smollm2.specs()[name]).model.name == "smollm2-135m"


@pytest.mark.parametrize("off", [0.0, 0.01])
def test_recorded_figures_of_smollm2_agree_with_themselves_only(off: float) -> None:
    """A head's effect that is off by a hundredth of a nat is another model, or another prompt."""
    known = acceptance_smollm2.recorded()
    founding = [[known["founding"][run]] for run in ("patched", "orig", "new")]
    effects = np.zeros((30, 9))
    for name, effect in known["heads"]["effects"].items():
        effects[tuple(map(int, name.split(".")))] = effect + off
    heads = block("logit_diff", ("sender_layer", "sender_head"), 4.0 + effects, 4.0, 0.0)
    results = {
        "founding": Result(blocks=(block("attention_diff", ("example",), *founding),)),
        "heads": Result((heads,)),
    }
    findings = acceptance_smollm2.compare(results)
    assert len(findings) == 10
    assert sum(not finding.ok for finding in findings) == (7 if off else 0)
