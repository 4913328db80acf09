"""Checks: a run that cannot be trusted is a failed job, not a result."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.errors import ChecksFailed
from tests.shards import TEST_DEVICE, assemble, run_shard
from tests.tiny_weights import ALL_HEADS, job, node, prompts, result_of, tiny_weights
from worker.engine.checks import largest_difference
from worker.engine.runs import Runs
from worker.jobs.records import SweepOutput, pack, unpack
from worker.jobs.shard import ShardSettings

SETTINGS = ShardSettings(memory_bytes=2**28)
PATCH = {"senders": ALL_HEADS, "receivers": [node("v", 1)]}


def test_a_run_in_which_orig_patched_with_itself_changes_something_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the identity check's source is spoilt: the check must see it."""
    monkeypatch.setattr(Runs, "patched_with_itself", lambda self: replace(self, source="zero"))
    with pytest.raises(ChecksFailed, match="itself") as caught:
        result_of(tiny_weights(), prompts([5, 4]), PATCH)
    assert caught.value.code == "checks_failed"


def test_a_run_whose_writers_do_not_add_up_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the MLPs of the new run are said to have written something else."""
    honest = Runs.source_value

    def off(self: Runs, hook: str, layer: int | None) -> torch.Tensor:
        value = honest(self, hook, layer)
        return value + torch.arange(value.shape[-1], device=value.device) if hook == "mlp_out" else value

    monkeypatch.setattr(Runs, "source_value", off)
    with pytest.raises(ChecksFailed, match="last residual stream"):
        result_of(tiny_weights(), prompts([5, 4]), PATCH)


def test_numbers_that_are_not_finite_are_counted_and_named() -> None:
    """A metric that nothing changes, normalised, is a division by zero."""
    dataset = prompts([5, 4])
    dataset = dataset.model_copy(update={"new": dataset.orig})
    metric = {"kind": "logit", "answer": "A", "normalize": "noising"}
    result = result_of(tiny_weights(), dataset, PATCH, metric)
    assert result.checks["nonfinite"] > 0
    assert "not finite" in result.warnings[0]


def test_equal_nans_do_not_differ_and_unequal_ones_do() -> None:
    """The checks compare runs that may both have overflowed in one place."""
    nan = float("nan")
    assert largest_difference(torch.tensor([1.0, nan]), torch.tensor([1.5, nan])) == 0.5
    assert np.isnan(largest_difference(torch.tensor([1.0]), torch.tensor([nan])))


@pytest.mark.parametrize("dtype", ["tf32", "bfloat16"])
def test_a_faster_arithmetic_reports_its_deviation(dtype: str) -> None:
    """Measured against float32 in the same run."""
    result = result_of(tiny_weights(), prompts([5, 4, 3]), PATCH, dtype=dtype)
    deviation = result.checks["dtype_max_abs"]
    assert 0 <= deviation < 0.5
    assert (deviation > 0) == (dtype == "bfloat16" or bool(TEST_DEVICE))  # a CPU has no TF32
    assert result.checks["identity_max_abs"] == 0.0


@pytest.mark.parametrize("source", ["new", "mean", "zero"])
def test_the_deviation_is_that_of_the_result_from_one_in_float32(source: str) -> None:
    """Means are taken in float32 whatever the patches are run in, so that both runs patch the same values."""
    dataset, patch = prompts([5, 4, 3]), {**PATCH, "source": source}
    fast, exact = (
        result_of(tiny_weights(), dataset, patch, dtype=dtype, output={"per_example": True})
        for dtype in ("bfloat16", "float32")
    )
    true = np.abs(fast.arrays["0/patched"] - exact.arrays["0/patched"]).max()
    assert fast.checks["dtype_max_abs"] == pytest.approx(true, rel=1e-4)
    assert true > 1e-3


def test_float32_reports_no_deviation() -> None:
    """It is what the others are compared with."""
    assert result_of(tiny_weights(), prompts([5]), PATCH).checks["dtype_max_abs"] is None


@pytest.mark.parametrize(
    ("shard", "name", "value", "sentence"),
    [
        (1, "identity", 0.25, r"itself changed a metric by 0\.25"),
        (1, "identity", np.nan, "itself changed a metric by nan"),
        (0, "completeness", np.array([0.5, 1.0]), r"misses the new run's logits by 0\.5"),
        (0, "completeness", np.array([np.nan, 1.0]), "misses the new run's logits by nan"),
        (0, "completeness", np.array([0.5, np.nan]), r"misses the new run's logits by 0\.5"),
    ],
)
def test_the_checks_of_every_shard_count(shard: int, name: str, value: Any, sentence: str) -> None:
    """The worst shard decides, and what is not a number is no proof."""
    dataset = prompts([5, 4])
    spec: Any = job(dataset, PATCH)
    outputs = [run_shard(tiny_weights(), spec, dataset.slice(i, i + 1), 5, "patch", b"", SETTINGS) for i in range(2)]
    output = unpack(SweepOutput, outputs[shard])
    outputs[shard] = pack(replace(output, checks=replace(output.checks, **{name: value})))
    with pytest.raises(ChecksFailed, match=sentence):
        assemble(spec, tiny_weights().architecture, 5, b"", outputs)
