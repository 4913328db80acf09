"""Cuts: every example once and in order, the same on every run, a few seconds each."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.sharding import SHARD_S, cut
from service.jobs.speeds import CPU_FLOPS_PER_SECOND, CUDA_FLOPS_PER_SECOND, Speed
from tests.specs_of_demo import check

CHECKED = check(dataset={"kind": "ioi", "examples": 200})


@given(st.floats(0, 1e18), st.integers(1, 50))
def test_shards_are_the_dataset_in_order(flops: float, max_shards: int) -> None:
    """Nothing may be lost or counted twice, whatever the estimate was."""
    shards = cut(replace(CHECKED, phase_flops=(flops,), max_shards=max_shards), 1e9)
    assert 1 <= len(shards) <= max_shards and all(len(shard) for shard in shards)
    assert [prompt for shard in shards for prompt in shard.orig] == CHECKED.dataset.orig
    assert [shard.start for shard in shards] == [sum(map(len, shards[:index])) for index in range(len(shards))]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("seconds", "shards"),
    [(0.5, 1), (0.9, 1), (2.5, 8), (30, 8), (100, 25), (10_000, 200)],
)
def test_shards_take_a_few_seconds(seconds: float, shards: int) -> None:
    """Short jobs are not cut; longer ones show progress; an example is never cut."""
    checked = replace(CHECKED, phase_flops=(seconds * CPU_FLOPS_PER_SECOND,))
    assert len(cut(checked, CPU_FLOPS_PER_SECOND)) == shards
    assert seconds / shards <= SHARD_S or shards in (1, 200)


@pytest.mark.parametrize(
    ("alive", "rates", "nominal", "expected"),
    [
        (set(), {}, CPU_FLOPS_PER_SECOND, CPU_FLOPS_PER_SECOND),
        ({"cpu"}, {}, CPU_FLOPS_PER_SECOND, CPU_FLOPS_PER_SECOND),
        ({"cpu"}, {"cpu": 3e10}, CPU_FLOPS_PER_SECOND, 3e10),
        ({"cpu"}, {"cpu": 3e10, "NVIDIA H100": 5e13}, CPU_FLOPS_PER_SECOND, 3e10),
        ({"cuda:0", "cpu"}, {"NVIDIA H100": 5e13}, CPU_FLOPS_PER_SECOND, CPU_FLOPS_PER_SECOND),
        ({"cuda:0"}, {}, CUDA_FLOPS_PER_SECOND, CUDA_FLOPS_PER_SECOND),
        ({"cuda:0"}, {"cpu": 3e10}, CUDA_FLOPS_PER_SECOND, CUDA_FLOPS_PER_SECOND),
        ({"cuda:0"}, {"cpu": 3e10, "NVIDIA H100": 1e11}, CUDA_FLOPS_PER_SECOND, 1e11),
        (set(), {"NVIDIA H100": 5e13}, CUDA_FLOPS_PER_SECOND, 5e13),
    ],
)
def test_cuts_go_by_the_kind_of_device_and_estimates_by_its_measured_rate(
    alive: set[str], rates: dict[str, float], nominal: float, expected: float
) -> None:
    """Rates are noisy, and the same spec on the same kind of device must give the same bits."""
    assert Speed.of(alive, rates) == Speed(nominal, expected)


def test_shards_hold_only_so_many_tokens() -> None:
    """On a fast device ten thousand prompts would be one shard, and their activations fill its memory."""
    checked = check(dataset={"kind": "ioi", "examples": 10_000})
    assert len(cut(checked, CUDA_FLOPS_PER_SECOND)) > 1


def test_a_job_of_ten_seconds_on_a_busy_laptop_shows_progress() -> None:
    """One shard would stand at 0 % until its end."""
    patch = {"senders": {"sweep": {"hook": "z"}}, "receivers": [{"hook": "resid_post", "layer": 3}]}
    metric = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
    checked = check(
        dataset={"kind": "ioi", "examples": 1000}, patch={**patch, "direct_includes_mlps": True}, metric=metric
    )
    assert len(cut(checked, CPU_FLOPS_PER_SECOND)) == 8


SWEPT = {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": ["q", "k", "v"]}}}


@pytest.mark.parametrize("seconds", [1, 30, 500, 1e6])
@pytest.mark.parametrize("examples", [1, 3, 40])
def test_the_cells_of_few_examples_are_cut_too(seconds: float, examples: int) -> None:
    """One example with thousands of cells keeps every worker busy; each cell of each example is in one shard."""
    metric = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
    checked = check(dataset={"kind": "ioi", "examples": examples}, patch=SWEPT, metric=metric)
    shards = cut(replace(checked, phase_flops=(seconds * CPU_FLOPS_PER_SECOND,)), CPU_FLOPS_PER_SECOND)
    n_senders, n_receivers = checked.grid_sizes
    done = np.zeros((examples, n_senders, n_receivers), dtype=int)
    for shard in shards:
        senders, receivers = shard.cells or ((0, n_senders), (0, n_receivers))
        done[shard.start : shard.start + len(shard), slice(*senders), slice(*receivers)] += 1
    assert (done == 1).all()
    assert len(shards) <= checked.max_shards
    assert len(shards) >= min(seconds / SHARD_S / 2, examples * n_senders, checked.max_shards / 2)
