"""From shards to a result: axes, statistics over the whole dataset, normalisation, reduction."""

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.tiny_weights import ALL_HEADS, LOGIT_DIFF, job, node, prompts, result_of, tiny_weights
from worker.jobs.run import kind_of

LENGTHS = [5, 4, 6, 3, 5]
SINGLE = {"senders": [node("z", 0)], "receivers": [node("v", 1)]}
SWEEP = {"senders": ALL_HEADS, "receivers": [node("resid_post", 2)]}
EDGES = {"senders": ALL_HEADS, "receivers": {"sweep": {"hook": ["q", "k"]}}}
OWN_ATTENTION = {"kind": "attention", "query": "end", "key": "first"}


@pytest.mark.parametrize(
    ("fields", "source", "expected"),
    [
        ({}, "new", ("patch",)),
        ({}, "mean", ("means", "patch")),
        ({"method": "attribution"}, "new", ("patch",)),
        ({"method": "attribution", "verify": 2}, "new", ("patch", "verify")),
        ({"method": "attribution", "verify": 2}, "mean", ("means", "patch", "verify")),
    ],
)
def test_a_job_has_the_phases_it_needs(fields: dict[str, Any], source: str, expected: tuple[str, ...]) -> None:
    """Means over the dataset come before the patches, exact values of estimated cells after."""
    spec = job(prompts([3]), {**SINGLE, "source": source}, **fields)
    assert kind_of(spec).phases(spec) == expected


def test_one_cell_gives_one_number_per_example_with_its_statistics() -> None:
    """The founding experiment's form."""
    result = result_of(tiny_weights(), prompts(LENGTHS), SINGLE, cuts=[2])
    block, patched = result.blocks[0], result.arrays["0/patched"]
    assert block["axes"] == ["example"]
    assert block["shape"] == [5] == list(patched.shape)
    assert block["coordinates"] == {"example": [0, 1, 2, 3, 4]}
    statistics = block["summary"]["patched"]
    assert statistics["mean"] == pytest.approx(patched.mean(), abs=1e-6)
    assert statistics["sd"] == pytest.approx(patched.std(ddof=1), abs=1e-6)
    assert statistics["sem"] == pytest.approx(patched.std(ddof=1) / 5**0.5, abs=1e-6)
    assert (statistics["median"], statistics["n"]) == (pytest.approx(np.median(patched), abs=1e-6), 5)


def test_a_sweep_gives_means_and_deviations_over_the_examples() -> None:
    """As numpy has them from the numbers per example."""
    each = result_of(tiny_weights(), prompts(LENGTHS), SWEEP, output={"per_example": True}).arrays["0/patched"]
    result = result_of(tiny_weights(), prompts(LENGTHS), SWEEP, cuts=[1, 3])
    assert result.blocks[0]["axes"] == ["sender_layer", "sender_head"]
    assert result.blocks[0]["coordinates"] == {"sender_layer": [0, 1, 2], "sender_head": [0, 1]}
    np.testing.assert_allclose(result.arrays["0/patched"], each.mean(-1), atol=1e-6)
    np.testing.assert_allclose(result.arrays["0/patched_sd"], each.std(-1, ddof=1), atol=1e-6)
    np.testing.assert_allclose(result.arrays["0/patched_sem"], each.std(-1, ddof=1) / 5**0.5, atol=1e-6)
    assert result.arrays["0/orig"].shape == ()


@pytest.mark.parametrize("metric", [LOGIT_DIFF, {**LOGIT_DIFF, "normalize": "denoising"}])
@pytest.mark.parametrize("output", [{"per_example": True}, {"per_example": False}, {"reduce": {"top": 100}}])
@pytest.mark.parametrize("patch", [SINGLE, SWEEP], ids=["one cell", "sweep"])
def test_an_effects_standard_error_pairs_each_example_with_itself(
    patch: dict[str, Any], output: dict[str, Any], metric: dict[str, Any]
) -> None:
    """What varies between examples in both runs alike says nothing about the effect; nor do the shards."""
    each = result_of(tiny_weights(), prompts(LENGTHS), patch, metric, output={"per_example": True}).arrays
    effect = each["0/patched"] - each["0/orig"]
    result = result_of(tiny_weights(), prompts(LENGTHS), patch, metric, cuts=[1, 3], output=output)
    cells = np.argsort(-np.abs(effect.mean(-1)), axis=None, kind="stable") if "reduce" in output else slice(None)
    for name, values in (("effect_sem", effect), ("patched_sem", each["0/patched"])):
        expected = values.std(-1, ddof=1) / 5**0.5
        expected = expected.ravel()[cells] if "reduce" in output else expected
        np.testing.assert_allclose(result.arrays[f"0/{name}"], expected, rtol=1e-4, atol=1e-6)
    assert np.abs(result.arrays["0/effect_sem"] - result.arrays["0/patched_sem"]).max() > 1e-3


@pytest.mark.parametrize("patch", [SINGLE, SWEEP], ids=["one cell", "sweep"])
def test_numbers_per_example_come_with_each_cells_mean_and_deviations(patch: dict[str, Any]) -> None:
    """As a sweep without them has."""
    each, means = (
        result_of(tiny_weights(), prompts(LENGTHS), patch, cuts=[2], output={"per_example": per_example}).arrays
        for per_example in (True, False)
    )
    np.testing.assert_allclose(each["0/patched_mean"], means["0/patched"], atol=1e-6)
    for name in ("patched_sd", "patched_sem", "effect_sem"):
        np.testing.assert_allclose(each[f"0/{name}"], means[f"0/{name}"], atol=1e-6)
    assert "0/patched_mean" not in means


def test_one_example_has_no_deviation() -> None:
    """Null by nature, which is not a number that failed."""
    result = result_of(tiny_weights(), prompts([4]), SWEEP)
    assert np.isnan(result.arrays["0/effect_sem"]).all()
    assert result.checks["nonfinite"] == 0


def test_two_metrics_of_one_kind_are_told_apart() -> None:
    """By their own fields, the receiver's head included, and by their titles."""
    heads = [node("q", 1, head=1)]
    keys = [{"kind": "attention", "query": "end", "key": key} for key in ("first", "middle")]
    named = {**keys[0], "head": {"layer": 2, "head": 0}}
    result = result_of(tiny_weights(), prompts([4, 5]), {**SINGLE, "receivers": heads}, [*keys, named])
    labels = [block["metric"] for block in result.blocks]
    assert [label["title"] for label in labels] == [
        "attention end → first, head 1.1", "attention end → middle, head 1.1", "attention end → first, head 2.0",
    ]  # fmt: skip
    assert labels[1] == {
        "kind": "attention", "title": labels[1]["title"], "unit": "probability", "normalize": "none",
        "query": "end", "key": "middle", "head": {"layer": 1, "head": 1},
    }  # fmt: skip
    swept = result_of(tiny_weights(), prompts([4, 5]), EDGES, OWN_ATTENTION).blocks[0]["metric"]
    assert (swept["title"], "head" in swept) == ("attention end → first, each receiver's head", False)


def test_a_path_joins_equal_positions_only() -> None:
    """Heads are frozen, so nothing moves between positions before the receiver."""
    patch = {"senders": [node("z", 0, positions="first"), node("z", 1, positions="end")],
             "receivers": [node("resid_post", 2, positions="end")]}  # fmt: skip
    for through_mlps in (False, True):
        result = result_of(tiny_weights(), prompts([4, 5]), {**patch, "direct_includes_mlps": through_mlps})
        assert result.unreachable_senders == [{"hook": "z", "layer": 0, "positions": "first"}]


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2, 4)])
def test_cells_are_reachable_where_both_ends_share_a_position(cuts: tuple[int, ...]) -> None:
    """And the number of examples is told in which they do: prompts of other lengths may lack the position."""
    patch = {"senders": {"sweep": {"hook": "z", "layers": [0, 2], "heads": "joint", "positions": "each"}},
             "receivers": [node("v", 1, positions=[4, 5])]}  # fmt: skip
    result = result_of(tiny_weights(), prompts(LENGTHS), patch, cuts=cuts)
    assert result.arrays["0/n_patched"].tolist() == [[0, 0, 0, 0, 3, 1], [0] * 6]
    assert result.arrays["0/reachable"].tolist() == [[False] * 4 + [True, True], [False] * 6]
    effect = result.arrays["0/patched"] - result.arrays["0/orig"]
    assert (effect[~result.arrays["0/reachable"]] == 0).all() and np.abs(effect[0, 4]) > 1e-4
    unreachable = [(one["layer"], one["positions"]) for one in result.unreachable_senders]
    assert unreachable == [(0, place) for place in range(4)] + [(2, place) for place in range(6)]
    everywhere = result_of(tiny_weights(), prompts(LENGTHS), SWEEP, cuts=cuts).arrays
    assert "0/n_patched" not in everywhere and everywhere["0/reachable"].all()


def test_verified_cells_stand_beside_the_estimates_and_the_worst_is_told() -> None:
    """A first-order estimate must not be read as the effect where the effect is known."""
    exact = result_of(tiny_weights(), prompts(LENGTHS), SWEEP).arrays["0/patched"]
    result = result_of(tiny_weights(), prompts(LENGTHS), SWEEP, method="attribution", verify=2, cuts=[3])
    known = result.arrays["0/exact"]
    assert np.isfinite(known).sum() == 2 and result.checks["nonfinite"] == 0
    np.testing.assert_allclose(known[np.isfinite(known)], exact[np.isfinite(known)], atol=1e-5)
    off = np.nan_to_num(np.abs(known - result.arrays["0/patched"]))
    worst = np.unravel_index(np.argmax(off), off.shape)
    said = next(warning for warning in result.warnings if "furthest off" in warning)
    assert said.startswith("logit A minus B: of 2 verified cells, the estimate is furthest off in ")
    orig = result.arrays["0/orig"]
    effects = f"effect {result.arrays['0/patched'][worst] - orig:.3g} estimated, {known[worst] - orig:.3g} exact"
    rounded = re.sub(r"-?\d+\.\d{3,}(e-\d+)?", lambda number: f"{float(number[0]):.3g}", said)
    assert f"z {worst[0]}.{worst[1]} → resid_post 2: {effects}" in rounded
    top = result_of(
        tiny_weights(), prompts(LENGTHS), SWEEP, method="attribution", verify=2, output={"reduce": {"top": 3}}
    )
    assert np.isfinite(top.arrays["0/exact"]).tolist() == [True, True, False]


@pytest.mark.parametrize(("normalize", "new_becomes"), [("noising", -1), ("denoising", 1)])
@pytest.mark.parametrize("per_example", [True, False])
def test_normalisation_divides_by_means_over_the_whole_dataset(
    normalize: str, new_becomes: int, per_example: bool
) -> None:
    """Orig becomes 0 and new -1 or +1, whatever the shards; the raw means are kept."""
    metric = {**LOGIT_DIFF, "normalize": normalize}
    output = {"per_example": per_example}
    raw = result_of(tiny_weights(), prompts(LENGTHS), SWEEP, output={"per_example": True}).arrays
    orig, new = raw["0/orig"].mean(), raw["0/new"].mean()
    result = result_of(tiny_weights(), prompts(LENGTHS), SWEEP, metric, cuts=[2], output=output)
    expected = new_becomes * (raw["0/patched"].mean(-1) - orig) / (new - orig)
    patched = result.arrays["0/patched"]
    np.testing.assert_allclose(patched.mean(-1) if per_example else patched, expected, atol=1e-4)
    assert result.arrays["0/orig"].mean() == pytest.approx(0, abs=1e-5)
    assert result.arrays["0/new"].mean() == pytest.approx(new_becomes, abs=1e-5)
    statistics = result.blocks[0]["summary"]
    assert (statistics["orig"]["mean"], statistics["new"]["mean"]) == (0, new_becomes)
    assert result.blocks[0]["normalization"]["orig_mean"] == pytest.approx(orig, abs=1e-5)
    label = result.blocks[0]["metric"]
    assert label == {
        "kind": "logit_diff", "title": f"logit A minus B, {normalize}", "unit": "fraction", "normalize": normalize,
        "answer": "A", "minus_answer": "B", "position": "end",
    }  # fmt: skip


def test_orig_has_the_patched_shape_where_the_metric_depends_on_the_cell() -> None:
    """Each receiver's own attention differs before anything is patched."""
    result = result_of(tiny_weights(), prompts(LENGTHS), EDGES, OWN_ATTENTION)
    assert result.arrays["0/orig"].shape == result.arrays["0/patched"].shape == (3, 2, 2, 3, 2)
    assert (result.blocks[0]["n_examples"], result.blocks[0]["summary"]["orig"]) == (len(LENGTHS), None)


@pytest.mark.parametrize("count", [3, 1000])
def test_reduce_keeps_the_cells_of_largest_absolute_effect(count: int) -> None:
    """With their coordinates along every former axis; never more than there are."""
    whole = result_of(tiny_weights(), prompts(LENGTHS), EDGES, OWN_ATTENTION).arrays
    effect = np.abs(whole["0/patched"] - whole["0/orig"])
    result = result_of(
        tiny_weights(), prompts(LENGTHS), EDGES, OWN_ATTENTION, cuts=[2], output={"reduce": {"top": count}}
    )
    block = result.blocks[0]
    kept = min(count, effect.size)
    assert (block["axes"], block["shape"]) == (["cell"], [kept])
    np.testing.assert_allclose(
        np.abs(result.arrays["0/patched"] - result.arrays["0/orig"]), np.sort(effect.ravel())[::-1][:kept], atol=1e-6
    )
    names = ["sender_layer", "sender_head", "receiver_hook", "receiver_layer", "receiver_head"]
    hooks = ["q", "k"]
    first = [block["coordinates"][name][0] for name in names]
    place = tuple(
        hooks.index(value) if name == "receiver_hook" else value for name, value in zip(names, first, strict=True)
    )
    assert result.arrays["0/patched"][0] == pytest.approx(whole["0/patched"][place], abs=1e-6)


def test_reduce_to_the_mean_of_one_cell_leaves_no_axis() -> None:
    """A single number, with its deviation."""
    result = result_of(tiny_weights(), prompts(LENGTHS), SINGLE, output={"reduce": "mean"})
    assert (result.blocks[0]["axes"], result.blocks[0]["shape"]) == ([], [])
    assert result.arrays["0/patched"].shape == result.arrays["0/patched_sd"].shape == ()


def test_decimals_round_the_numbers() -> None:
    """What the user asked for, no more."""
    arrays = result_of(tiny_weights(), prompts(LENGTHS), SWEEP, output={"decimals": 2}).arrays
    for name in ("patched", "patched_sd", "orig"):
        np.testing.assert_allclose(arrays[f"0/{name}"], np.round(arrays[f"0/{name}"], 2), atol=1e-7)


def test_decimals_round_the_statistics_too_and_no_zero_is_negative() -> None:
    """One number must not read differently in two places."""
    metric = {**LOGIT_DIFF, "normalize": "noising"}
    result = result_of(tiny_weights(), prompts(LENGTHS), SINGLE, metric, output={"decimals": 1})
    block = result.blocks[0]
    assert block["summary"]["patched"]["mean"] == round(block["summary"]["patched"]["mean"], 1)
    assert block["normalization"]["new_mean"] == round(block["normalization"]["new_mean"], 1)
    late = {"senders": [node("z", 2)], "receivers": [node("v", 1)]}
    zero = result_of(tiny_weights(), prompts(LENGTHS), late, metric, output={"per_example": False}).arrays["0/patched"]
    assert zero == 0 and not np.signbit(zero)


def test_means_over_the_dataset_count_only_the_examples_that_have_a_position() -> None:
    """Padding is not an activation."""
    dataset = prompts([2, 5])
    patch = {"kind": "activation", "nodes": [node("resid_pre", 0)], "source": "mean"}
    metric = {"kind": "logit", "answer": "A", "position": "end"}
    arrays = result_of(tiny_weights(), dataset, patch, metric, cuts=[1]).arrays
    again = result_of(tiny_weights(), dataset, patch, metric).arrays
    np.testing.assert_allclose(arrays["0/patched"], again["0/patched"], atol=1e-5)
    twice = dataset.model_copy(update={"new": [[1, 2], [1, 2, 3, 4, 5]], "orig": [[1, 2], [1, 2, 3, 4, 5]]})
    arrays = result_of(tiny_weights(), twice, patch, metric).arrays
    np.testing.assert_allclose(arrays["0/patched"], arrays["0/orig"], atol=1e-5)


def test_every_array_is_an_array() -> None:
    """A mean over one axis too many is a numpy scalar, which safetensors does not take."""
    for patch in (SINGLE, SWEEP, EDGES):
        for per_example in (True, False):
            metric = OWN_ATTENTION if patch is EDGES else LOGIT_DIFF
            result = result_of(tiny_weights(), prompts([4, 5]), patch, metric, output={"per_example": per_example})
            assert all(type(values) is np.ndarray for values in result.arrays.values())


def test_running_a_shard_needs_no_transformers() -> None:
    """Starting on cached weights takes as long as importing torch."""
    heavy = ("transformers", "transformer_lens", "celery", "redis")
    code = f"import sys, worker.jobs.run; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
