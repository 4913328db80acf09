"""A shard may be a slice of the cells: what was cut apart is put together again, in every kind of job."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.grid import CellSlice, grid_of
from tests.shards import run_job
from tests.tiny_weights import ALL_HEADS, LOGIT_DIFF, job, node, prompts, tiny_weights
from worker.jobs.kind import AssembledResult

OWN_ATTENTION = {"kind": "attention", "query": "end", "key": "first"}
EDGES = {"senders": ALL_HEADS, "receivers": {"sweep": {"hook": ["q", "k"]}}}
JOBS: dict[str, dict[str, Any]] = {
    "edges": {"patch": EDGES, "metrics": [OWN_ATTENTION, LOGIT_DIFF]},
    "per example": {"patch": EDGES, "metrics": OWN_ATTENTION, "output": {"per_example": True}},
    "one receiver": {"patch": {"senders": ALL_HEADS, "receivers": [node("resid_post", 2)]}},
    "one sender cell": {"patch": {**EDGES, "senders": [node("z", 0), node("mlp_out", 1)]}, "metrics": OWN_ATTENTION},
    "means": {"patch": {**EDGES, "source": "mean"}, "metrics": OWN_ATTENTION},
    "activations": {"patch": {"kind": "activation", "nodes": {"sweep": {"hook": ["z", "pattern"]}}}},
    "means of activations": {"patch": {"kind": "activation", "nodes": ALL_HEADS, "source": "mean"}},
    "estimates": {"patch": EDGES, "metrics": OWN_ATTENTION, "method": "attribution", "verify": 4},
    "top cells": {"patch": EDGES, "metrics": OWN_ATTENTION, "output": {"reduce": {"top": 5}}},
    "bfloat16": {"patch": EDGES, "metrics": OWN_ATTENTION, "dtype": "bfloat16"},
}
DATASET = prompts([5, 4, 6])


def run(name: str, cuts: Sequence[int], senders: Sequence[int], receivers: Sequence[int]) -> AssembledResult:
    """A job whose examples, sender cells and receiver cells are cut at these places, as far as they exist."""
    weights, spec = tiny_weights(), job(DATASET, **JOBS[name])
    sizes = grid_of(spec.patch, weights.architecture, DATASET.longest).sizes
    bounds = [
        sorted({0, *(cut for cut in own if cut < size), size})
        for own, size in zip((senders, receivers), sizes, strict=True)
    ]
    slices = [CellSlice(own, others) for own in pairwise(bounds[0]) for others in pairwise(bounds[1])]
    return run_job(weights, spec, DATASET, cuts, cells=slices)


@cache
def whole_job(name: str) -> AssembledResult:
    """The same without any cut."""
    return run(name, [], [], [])


@pytest.mark.parametrize("name", JOBS)
@settings(max_examples=5)
@given(
    cuts=st.sets(st.integers(1, 2)),
    senders=st.sets(st.integers(1, 5), max_size=2),
    receivers=st.sets(st.integers(1, 11), max_size=2),
)
def test_where_cells_are_cut_changes_nothing(name: str, cuts: set[int], senders: set[int], receivers: set[int]) -> None:
    """Numbers to float error; axes, summaries, checks and unreachable senders too."""
    whole = whole_job(name)
    parts = run(name, sorted(cuts), sorted(senders), sorted(receivers))
    close = {"atol": 2e-2, "rtol": 2e-2} if name == "bfloat16" else {"atol": 1e-5, "rtol": 1e-5}
    for field, values in whole.arrays.items():
        np.testing.assert_allclose(parts.arrays[field], values, **close, err_msg=field)
    described = [[block[part] for part in ("axes", "shape", "n_examples")] for block in whole.blocks]
    assert described == [[block[part] for part in ("axes", "shape", "n_examples")] for block in parts.blocks]
    assert parts.unreachable_senders == whole.unreachable_senders
    assert parts.checks["identity_max_abs"] == 0.0 and parts.checks["completeness_max_abs"] < 1e-2
