"""Pooling runs: means and spreads worked out by hand."""

import numpy as np
import pytest

import pathpatch as pp
from pathpatch.results import Result, ResultsDiffer

METRIC = {"kind": "logit_diff", "title": "logit IO minus S", "unit": "nats", "normalize": "none"}
SWEEP = {
    "job_id": "job_1", "metric": METRIC, "axes": ["sender_layer", "sender_head"],
    "coordinates": {"sender_layer": [0, 1], "sender_head": [0, 1]}, "orig": 3.0, "new": 1.0, "n_examples": 50,
    "provenance": {"model": "demo"}, "summary": {},
}  # fmt: skip
SPEC = {"model": {"name": "demo"}, "dataset": {"kind": "ioi", "seed": 3}, "patch": {
    "senders": {"sweep": {"hook": "z"}}, "receivers": [{"hook": "resid_post", "layer": 3}]}}  # fmt: skip


def sweep(values, orig=3.0, spec=SPEC, **changes):
    """A run of two layers with two heads."""
    return Result.from_json(SWEEP | {"patched": values, "orig": orig} | changes, spec)


def per_example(patched, orig):
    """A run of one cell."""
    axes = {"axes": ["example"], "coordinates": {"example": list(range(len(patched)))}}
    return Result.from_json(SWEEP | axes | {"patched": patched, "orig": orig, "new": [0.0] * len(patched)}, SPEC)


def test_mean_sd_and_n_of_a_sweep_are_between_runs():
    """Effects of 0.0: 1 and 3, so mean 2, sd sqrt(2), sem 1."""
    pooled = pp.pool([sweep([[4.0, 3.0], [2.0, 3.0]]), sweep([[7.0, 4.0], [3.0, 4.0]], orig=4.0)])
    assert pooled.n == 2
    assert pooled.effect.tolist() == [[2.0, 0.0], [-1.0, 0.0]]
    assert pooled.effect_sd[0, 0] == pytest.approx(np.sqrt(2))
    assert pooled.block.effect_sem.tolist() == [[pytest.approx(1.0), 0.0], [0.0, 0.0]]
    assert pooled.patched.tolist() == [[5.5, 3.5], [2.5, 3.5]]
    assert pooled.block.patched_sd[0, 0] == pytest.approx(3 / np.sqrt(2))
    assert pooled.orig.tolist() == [[3.5, 3.5], [3.5, 3.5]]
    assert pooled.block.name_of((1, 0)) == "1.0"


def test_each_run_counts_once_however_many_examples_it_has():
    """Means of -1 and -3: the second has more examples, and is one run as well."""
    pooled = pp.pool([per_example([1.0, 3.0], [2.0, 4.0]), per_example([0.0, 0.0, 0.0, 0.0], [3.0] * 4)])
    assert pooled.axes == () and float(pooled.effect) == -2.0
    assert float(pooled.effect_sd) == pytest.approx(np.sqrt(2))
    assert pooled.summary["patched"]["mean"] == 1.0 and pooled.summary["patched"]["n"] == 2
    assert "n = 2" in repr(pooled) and "n counts runs" in repr(pooled)


def test_a_pooled_result_draws_and_tabulates_as_any_other(tmp_path):
    """With error bars between runs, and without the seed of the first run in its caption."""
    pooled = pp.pool([sweep([[4.0, 3.0], [2.0, 3.0]]), sweep([[6.0, 3.0], [2.0, 3.0]])])
    caption = pooled.heatmap().layout.meta["caption"]
    assert "n = 2" in caption and "seed" not in caption
    bars = pooled.bars().data[0]
    assert max(bars.error_x.array if bars.error_x.array is not None else bars.error_y.array) == pytest.approx(1.0)
    frame = pooled.to_dataframe()
    assert frame["effect_sem"].tolist() == [pytest.approx(1.0), 0.0, 0.0, 0.0]
    loaded = Result.load(pooled.save(tmp_path / "pooled.npz"))
    assert np.array_equal(loaded.effect, pooled.effect)
    assert pooled.figure() is not None


def test_one_run_has_no_spread():
    """NaN, not 0: nothing is known of it."""
    pooled = pp.pool([sweep([[4.0, 3.0], [2.0, 3.0]])])
    assert pooled.n == 1 and np.isnan(pooled.effect_sd).all()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (sweep([[1.0], [2.0]], coordinates={"sender_layer": [0, 1], "sender_head": [5]}), "other coordinates"),
        (sweep([[1.0, 1.0], [2.0, 2.0]], metric=METRIC | {"title": "KL from orig"}), "other metrics"),
        (per_example([1.0], [2.0]), "other axes"),
        (sweep([[1.0, 1.0], [2.0, 2.0]], provenance={"model": "gpt2-small"}), "other models"),
    ],
)
def test_runs_of_different_experiments_are_not_pooled(other, said):
    """The message says which run differs, and in what."""
    with pytest.raises(ResultsDiffer, match=f"result 2 has {said} than result 1"):
        pp.pool([sweep([[4.0, 3.0], [2.0, 3.0]]), other])


def test_nothing_cannot_be_pooled():
    """An empty list is a mistake of the caller."""
    with pytest.raises(ResultsDiffer, match="no results"):
        pp.pool([])
