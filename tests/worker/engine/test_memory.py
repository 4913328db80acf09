"""Memory: planned portions, and what happens when they do not fit after all."""

import numpy as np
import pytest
import torch

from api_schemas.errors import OutOfMemory
from tests.shards import run_job
from tests.tiny_weights import ALL_HEADS, job, node, patched, prompts, tiny_weights
from worker.engine import sweep
from worker.engine.memory import BYTES_PER_VALUE, Portion, first_portion, in_portions
from worker.engine.runs import Runs
from worker.jobs.shard import Examples, Shard, ShardSettings


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("numpy")])
def test_a_failed_allocation_halves_the_portion_and_goes_on(error: Exception) -> None:
    """No example is done twice or left out."""
    done = []

    def work(start: int, stop: int, portion: Portion) -> None:
        if stop - start > 2:
            raise error
        done.extend(range(start, stop))

    in_portions(11, Portion(examples=8, rows=64), work, 1, 1)
    assert done == list(range(11))


def test_one_example_that_does_not_fit_is_a_clear_error() -> None:
    """With the sizes, and a code that clients can rely on."""

    def work(start: int, stop: int, portion: Portion) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(OutOfMemory, match="3 MiB") as caught:
        in_portions(4, Portion(examples=4, rows=64), work, 3 * 2**20, 2**20)
    assert caught.value.code == "out_of_memory"


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    """Halving would hide them."""

    def work(start: int, stop: int, portion: Portion) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_portions(4, Portion(examples=4, rows=64), work, 1, 1)


@pytest.mark.parametrize("memory_bytes", [1, 10**6, 10**9, 10**12])
def test_a_portion_is_never_empty_and_never_more_than_there_is(memory_bytes: int) -> None:
    """Even a silly budget runs, one example at a time."""
    portion = first_portion(tiny_weights(), 100, 6.0, 5000, memory_bytes)
    assert 1 <= portion.examples <= 100
    assert portion.rows >= 1


def test_a_sweep_that_runs_out_of_memory_once_still_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocation failure comes from the device, in the middle of the work."""
    dataset = prompts([5, 4, 6, 3])
    patch = {"senders": ALL_HEADS, "receivers": [node("v", 1)]}
    expected = patched(tiny_weights(), dataset, patch)
    honest, calls = sweep.input_changes, []

    def failing_once(*args: object) -> object:
        calls.append(args)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep, "input_changes", failing_once)
    np.testing.assert_allclose(patched(tiny_weights(), dataset, patch), expected, atol=1e-5, rtol=1e-5)
    assert len(calls) > 1


def test_many_cells_leave_room_for_fewer_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every metric of every cell is held until its moments are taken, beside copies in float64."""
    portions = []

    honest = Shard.examples

    def spy(shard: Shard, start: int, stop: int, rows_at_once: int, *runs: Runs) -> Examples:
        if not runs:  # else the first example alone, for the checks
            portions.append((stop - start) * len(shard.grid))
        return honest(shard, start, stop, rows_at_once, *runs)

    monkeypatch.setattr(Shard, "examples", spy)
    dataset = prompts([4] * 24)
    sweep = {"sweep": {"hook": ["q", "k", "v"]}}
    spec = job(dataset, {"senders": ALL_HEADS, "receivers": sweep})
    budget = 2**18
    run_job(tiny_weights(), spec, dataset, settings=ShardSettings(memory_bytes=budget))
    assert sum(portions) == 24 * 108 and len(portions) > 1
    assert max(portions) * BYTES_PER_VALUE <= budget / 2
