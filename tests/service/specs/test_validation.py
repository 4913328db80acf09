"""Specs that can run: what they will take, and that what passes here fits the model and the dataset."""

from typing import Any

import pytest

from api_schemas.errors import InvalidSpec
from planning.architecture import Architecture
from planning.grid import axes_of
from service.specs.implied import normalised
from service.specs.limits import SpecLimits
from tests.specs_of_demo import (
    PROMPTS,
    RECEIVERS,
    SENDERS,
    TEMPLATES,
    TOKENS,
    JobSpec,
    catalog,
    check,
    document,
    problems,
)

SWEEP = {"senders": {"sweep": {"hook": "z"}}, "receivers": RECEIVERS}
EDGES = {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": ["q", "k"]}}}
DEMO = catalog().get("demo")
LOGIT = {"kind": "logit", "answer": "IO"}
EACH = {"kind": "activation", "nodes": {"sweep": {"hook": "resid_pre", "positions": "each"}}}


@pytest.mark.parametrize(
    ("changes", "cells", "axes", "shape"),
    [
        ({}, 1, ["example"], [8]),
        ({"output": {"per_example": False}}, 1, [], []),
        ({"patch": SWEEP}, 32, ["sender_layer", "sender_head"], [4, 8]),
        ({"patch": SWEEP, "output": {"per_example": True}}, 32, ["sender_layer", "sender_head", "example"], [4, 8, 8]),
        ({"patch": EDGES, "output": {"reduce": {"top": 50}}}, 2048, ["cell"], [50]),
        ({"patch": SWEEP, "output": {"reduce": {"top": 50}}}, 32, ["cell"], [32]),
        (
            {
                "patch": {"kind": "activation", "nodes": {"sweep": {"hook": "resid_pre", "positions": "each"}}},
                "metric": LOGIT,
                "dataset": TOKENS,
            },
            16,
            ["layer", "position"],
            [4, 4],
        ),
    ],
)
def test_axes_are_those_of_the_result(changes: dict[str, Any], cells: int, axes: list[str], shape: list[int]) -> None:
    """Clients plan their figures by these before any work is done."""
    checked = check(**changes)
    assert (checked.cells, checked.axes, checked.shape) == (cells, axes, shape)


def normal(whole: dict[str, Any]) -> JobSpec:
    return normalised(JobSpec.model_validate(whole), DEMO)


def test_specs_that_mean_the_same_are_equal_once_normalised() -> None:
    """An equal spec's earlier result answers; a default that was written out must not hide it."""
    plain = document()
    written = document(
        patch={**plain["patch"], "kind": "path", "receiver_update": "add", "source": "new"},
        output={"per_example": True},
        priority="normal",
    )
    assert normal(plain) == normal(written)
    assert normalised(normal(plain), DEMO) == normal(plain)


@pytest.mark.parametrize(
    ("sweep", "written"),
    [
        ({"hook": "z"}, {"heads": "all"}),
        ({"hook": ["z", "mlp_out"]}, {"heads": "joint"}),
        ({"hook": "post"}, {"neurons": "joint"}),
        ({"hook": "mlp_out"}, {}),
    ],
)
def test_what_a_sweep_leaves_out_is_written_out(sweep: dict[str, Any], written: dict[str, Any]) -> None:
    """Both forms are one spec, of one grid."""
    end = [{"hook": "resid_post", "layer": 3}]
    short = JobSpec.model_validate(document(patch={"senders": {"sweep": sweep}, "receivers": end}, metric=LOGIT))
    long = JobSpec.model_validate(
        document(patch={"senders": {"sweep": sweep | written}, "receivers": end}, metric=LOGIT)
    )
    assert normalised(short, DEMO) == normalised(long, DEMO)
    assert JobSpec.model_validate(normalised(short, DEMO).model_dump()) == normalised(short, DEMO)
    assert normalised(short, DEMO).model_dump()["patch"]["senders"]["sweep"].items() >= written.items()
    shape = Architecture(n_layers=4, n_heads=8, d_model=64, d_mlp=256, d_vocab=100, n_ctx=64)
    assert axes_of(short.patch, shape, 9) == axes_of(normalised(short, DEMO).patch, shape, 9)


def test_a_model_is_checked_before_its_dataset() -> None:
    """Without the model nothing else can be compared."""
    with pytest.raises(InvalidSpec, match="There is no model 'nobody'"):
        check(model={"name": "nobody"})


def test_positions_beyond_a_shorter_prompt_are_fine_in_a_patch() -> None:
    """An example that lacks the position does not take part; only a position that no prompt has is a mistake."""
    patch = {"senders": SENDERS, "receivers": RECEIVERS, "positions": 3}
    assert problems(dataset=TOKENS, patch=patch) == {}
    assert problems(dataset=TOKENS, patch={**patch, "positions": [[0, 3], []]}) == {}


def test_estimates_grow_with_the_work() -> None:
    """They cut shards and warn of long jobs: a sweep costs more than a cell, MLPs more than skips, 80 more than 8."""
    logits = {"metric": {**LOGIT, "answer": "IO"}}
    one = check(**logits).estimated_flops
    assert check(**logits, patch=SWEEP).estimated_flops > one
    many = check(**logits, dataset={"kind": "ioi", "examples": 80}).estimated_flops
    assert many == pytest.approx(10 * one, rel=0.05)
    heads = check(patch=EDGES, **logits, method="attribution").estimated_flops
    assert heads < check(patch=EDGES, **logits).estimated_flops
    mlps = check(
        **logits, patch={**SWEEP, "receivers": [{"hook": "resid_post", "layer": 3}], "direct_includes_mlps": True}
    )
    assert (
        mlps.estimated_flops
        > check(**logits, patch={**SWEEP, "receivers": [{"hook": "resid_post", "layer": 3}]}).estimated_flops
    )


def test_result_sizes_are_about_those_of_the_json() -> None:
    """Twice too large would refuse what fits; ten times too small would fill the store."""
    checked = check(patch=EDGES, output={"per_example": True}, dataset={"kind": "ioi", "examples": 100})
    numbers = 2048 * 100 * 3  # patched, and orig and new of each cell's own head
    assert 10 * numbers < checked.estimated_result_bytes < 20 * numbers
    assert check(patch=EDGES, output={"reduce": {"top": 5}}).estimated_result_bytes < 5000


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, None),
        ({"dataset": TEMPLATES}, None),
        (
            {"patch": {"senders": [{"hook": "z", "layer": 3, "head": 0}, *SENDERS], "receivers": RECEIVERS}},
            "no path leads to any receiver from z 3.0: there, patched equals orig exactly",
        ),
        (
            {"patch": {"senders": SWEEP["senders"], "receivers": RECEIVERS}},
            "from z 2.0, z 2.1, z 2.2, z 2.3, z 2.4, z 2.5 and 10 more",
        ),
        (
            {"dataset": {**TOKENS, "new": [TOKENS["orig"][0], [5, 9, 7]]}},
            "orig equals new in 1 of 2 examples (0): patching changes nothing there",
        ),
        (
            {"dataset": {**TOKENS, "new": TOKENS["orig"]}},
            "orig equals new in all examples: patching changes nothing there",
        ),
        (
            {"dataset": {**TOKENS, "new": TOKENS["orig"]}, "metric": {**LOGIT, "normalize": "noising"}},
            "orig equals new in all examples: normalize divides by zero, so its results will be null",
        ),
        (
            {"model": {"name": "demo", "fold_value_biases": False}},
            "fold_value_biases false has no effect while refactor_factored_attn_matrices is true",
        ),
        (
            {"model": {"name": "demo", "fold_value_biases": False, "refactor_factored_attn_matrices": False}},
            None,
        ),
        (
            {
                "dataset": {**TOKENS, "answers": {"IO": [8, 8], "S": [8, 9]}},
                "metric": {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"},
            },
            "answers IO and S are the same token in 1 of 2 examples (0): their logit difference is 0 there",
        ),
        (
            {"metric": {"kind": "attention", "query": "IO", "key": "end"}},
            'key "end" comes after query "IO" in all examples: attention there is always 0',
        ),
        (
            {"metric": {"kind": "attention_diff", "query": "end", "key": "S1", "minus_key": "S1"}},
            'key "S1" and minus_key "S1" are the same position: the difference is 0',
        ),
        (
            {"metric": {"kind": "attention", "query": "end", "key": "IO", "head": {"layer": 1, "head": 0}}},
            "attention of head 1.0 is computed before all that is patched, and cannot change",
        ),
        (
            {"metric": {"kind": "attention", "query": "end", "key": "IO", "head": {"layer": 2, "head": 0}}},
            "attention of head 2.0 is computed before all that is patched, and cannot change",
        ),
        (
            {
                "patch": {"senders": SENDERS, "receivers": RECEIVERS, "positions": "end"},
                "metric": {**LOGIT, "position": "IO"},
            },
            'position "end" comes after "IO", where metric \'logit\' is read: nothing can change',
        ),
        (
            {"patch": {"senders": [{"hook": "pos_embed"}], "receivers": RECEIVERS}},
            "pos_embed is the same in both runs, so patching it changes nothing (it does with source 'zero')",
        ),
        (
            {"metric": None, "metrics": [LOGIT, {"kind": "kl"}, {**LOGIT, "position": "end"}]},
            "metrics 0, 2 are the same: logit of IO",
        ),
        (
            {"patch": {"senders": {"sweep": {"hook": "z", "layers": [0, 1, 0]}}, "receivers": RECEIVERS}},
            "layers of the senders sweep name 0 more than once: these cells are repeated",
        ),
        (
            {
                "dataset": TOKENS,
                "metric": LOGIT,
                "patch": {"senders": SENDERS, "receivers": RECEIVERS, "positions": [3, 1]},
            },
            "position 3 exists in 1 of 2 prompts only: the others count there with an effect of 0",
        ),
        (
            {"dataset": PROMPTS, "metric": LOGIT, "patch": EACH},
            "position 11 exists in 1 of 2 prompts only: the others count there with an effect of 0, and n_patched says",
        ),
        (
            {"dataset": PROMPTS, "metric": LOGIT, "patch": EACH},
            "and IO is at 1 to 3, end is at 10 to 11: sweep roles to compare equal words",
        ),
        (
            {"patch": {"senders": SENDERS, "receivers": RECEIVERS, "source": "mean"}},
            "source 'mean' is per position, and ",
        ),
        (
            {
                "patch": {
                    "senders": [{**SENDERS[0], "positions": "IO"}],
                    "receivers": [{**RECEIVERS[0], "positions": "end"}],
                }
            },
            "no path leads to any receiver from z 1.2 at IO: there, patched equals orig exactly",
        ),
        (
            {"dataset": {**TEMPLATES, "slots": {**TEMPLATES["slots"], "OBJECT": ["book", " ring", "lamp"]}}},
            'filler " ring" of slot OBJECT begins with a space, and so does its place in template 0',
        ),
        (
            {"metric": {"kind": "kl"}, "method": "attribution"},
            "the gradient of kl at orig is 0, so method 'attribution' estimates 0 for every cell",
        ),
    ],
)
def test_what_is_probably_not_meant_is_warned_of(changes: dict[str, Any], warning: str | None) -> None:
    """A patch that silently does nothing is the most common complaint about such services."""
    warnings = check(**changes).warnings
    if warning is None:
        assert warnings == []
    else:
        assert any(warning in found for found in warnings), warnings


def test_limits_come_from_the_environment_by_their_own_names() -> None:
    """Each error names the variable that changes the limit."""
    assert SpecLimits.from_environment({"PATHPATCH_MAX_CELLS": "7", "HOME": "/root"}) == SpecLimits(max_cells=7)
    for value in ("0", "-1", "many", "1.5", ""):
        with pytest.raises(ValueError, match=f"PATHPATCH_MAX_CELLS is '{value}': it must be a positive integer"):
            SpecLimits.from_environment({"PATHPATCH_MAX_CELLS": value})
