"""Attribution: the slope of the exact method, at a small scale."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.shards import run_shard
from tests.tiny_weights import ALL_HEADS, LOGIT_DIFF, job, node, prompts, result_of, tiny_weights
from worker.engine.runs import Activations
from worker.jobs.records import Means, SweepOutput, pack, unpack
from worker.jobs.shard import ShardSettings

SETTINGS = ShardSettings(memory_bytes=2**28)
OWN_ATTENTION = {"kind": "attention", "query": "end", "key": "first"}
EXPERIMENTS = [
    (ALL_HEADS, {"sweep": {"hook": ["q", "k"]}}, OWN_ATTENTION),
    (ALL_HEADS, {"sweep": {"hook": ["q", "k", "v"]}}, LOGIT_DIFF),
    (ALL_HEADS, {"sweep": {"hook": "pattern"}}, {"kind": "loss"}),
    (ALL_HEADS, {"sweep": {"hook": "pre", "neurons": [0, 5]}}, {"kind": "log_prob", "answer": "A"}),
    (ALL_HEADS, [node("resid_post", 2)], LOGIT_DIFF),
    ([node("z", 0), node("mlp_out", 1)], [node("q", 2), node("v", 2, head=0), node("resid_post", 2)], LOGIT_DIFF),
    ([node("z", 0), node("post", 1, neuron=3)], [node("v", 2)], {"kind": "prob", "answer": "A"}),
]


def at_scale(patch: dict[str, Any], metric: Any, scale: float, method: str) -> np.ndarray:
    """The effect when every sender moves a fraction of the way to new: given as the mean of a one-prompt dataset."""
    weights, dataset = tiny_weights(dtype=torch.float64), prompts([5], seed=3)
    both = Activations(weights, torch.tensor(dataset.orig + dataset.new))
    means = {}
    for layer in range(3):
        for hook in ("z", "mlp_out", "post"):
            orig, new = both.get(hook, layer)
            means[f"{hook}.{layer}"] = (orig + scale * (new - orig)).numpy()
    spec = job(dataset, {**patch, "source": "mean"}, metric, method=method, output={"per_example": True})
    output = unpack(SweepOutput, run_shard(weights, spec, dataset, 5, "patch", pack(Means(means)), SETTINGS))
    (values,) = output.metrics
    assert values.patched is not None
    return values.patched.astype(np.float64) - values.orig[:, None].astype(np.float64)


@pytest.mark.parametrize("through_mlps", [False, True], ids=["skip-only", "through-mlps"])
@pytest.mark.parametrize(("senders", "receivers", "metric"), EXPERIMENTS)
def test_the_estimate_is_the_finite_difference_at_a_small_scale(
    senders: Any, receivers: Any, metric: Any, through_mlps: bool
) -> None:
    """Same sign, same size, every cell, both algorithms."""
    patch = {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps}
    scale = 3e-2
    exact = (at_scale(patch, metric, scale, "exact") - at_scale(patch, metric, -scale, "exact")) / (2 * scale)
    estimate = at_scale(patch, metric, 1.0, "attribution")
    np.testing.assert_allclose(estimate, exact, atol=2e-5 + 2e-3 * np.abs(estimate).max(), rtol=1e-2)
    assert np.abs(estimate).max() > 5e-5


def test_verified_cells_are_the_largest_estimates_with_their_exact_values() -> None:
    """Both numbers are reported, so that the reader sees how good the estimate is."""
    dataset = prompts([5, 4, 3])
    patch = {"senders": ALL_HEADS, "receivers": {"sweep": {"hook": ["q", "k"]}}}
    checked = result_of(tiny_weights(), dataset, patch, OWN_ATTENTION, cuts=[2], method="attribution", verify=4)
    exact = result_of(tiny_weights(), dataset, patch, OWN_ATTENTION).arrays["0/patched"]
    effect = np.abs(checked.arrays["0/patched"] - checked.arrays["0/orig"])
    cells = [tuple(cell) for cell in checked.blocks[0]["verified_cells"]]
    assert sorted(effect[cell] for cell in cells) == sorted(np.sort(effect.ravel())[-4:])
    np.testing.assert_allclose(checked.arrays["0/verified"], [exact[cell] for cell in cells], atol=1e-5)
    np.testing.assert_allclose(
        checked.arrays["0/estimate"], [checked.arrays["0/patched"][cell] for cell in cells], atol=1e-5
    )
    assert any("first-order" in warning for warning in checked.warnings)


@pytest.mark.parametrize("source", ["new", "mean"])
def test_attribution_has_the_phases_it_needs(source: str) -> None:
    """Means first, then the estimates, then the exact cells."""
    dataset = prompts([5, 4])
    patch = {"senders": ALL_HEADS, "receivers": [node("v", 1)], "source": source}
    result = result_of(tiny_weights(), dataset, patch, cuts=[1], method="attribution", verify=2)
    exact = result_of(tiny_weights(), dataset, patch).arrays["0/patched"]
    cells = [tuple(cell) for cell in result.blocks[0]["verified_cells"]]
    np.testing.assert_allclose(result.arrays["0/verified"], [exact[cell] for cell in cells], atol=1e-5)
