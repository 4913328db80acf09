"""ACDC on a shard: every test needs the metric's mean over all examples, so that one shard has them all."""

import numpy as np
from numpy.typing import NDArray

from api_schemas.circuits import CircuitPatch
from planning.acdc import acdc
from planning.circuit import CircuitGraph, Members
from worker.engine.edge_run import floats_per_cell
from worker.engine.memory import Portion
from worker.engine.model import Weights
from worker.engine.sweep import Batch
from worker.jobs.circuit_records import CircuitInput, Found
from worker.jobs.circuit_shards import all_in_portions, budget_of, run_values
from worker.jobs.shard import Job, Shard, ShardInput, ShardSettings, arithmetic


def acdc_of_shard(
    weights: Weights,
    job: Job,
    patch: CircuitPatch,
    shard_input: ShardInput,
    given: CircuitInput,
    settings: ShardSettings,
) -> Found:
    """What ACDC keeps after one more part of its tests; the shard has all examples and all edges."""
    graph, choice = CircuitGraph(job.architecture), patch.choice
    shard = Shard.of(weights, job, shard_input, given.means, settings)
    assert shard_input.cells is None
    assert choice.threshold is not None

    def work(start: int, stop: int, portion: Portion) -> tuple[Batch, int]:
        return shard.examples(start, stop, portion.rows).batch, budget_of(graph, portion)

    batches = all_in_portions(shard, work, floats_per_cell(graph, len(graph.writers), 1, shard.dataset.longest))

    def values_of(sets: list[Members]) -> NDArray[np.float64]:
        values = [run_values(batch, graph, sets, budget) for batch, budget in batches]
        found: NDArray[np.float64] = np.concatenate(values, axis=1).mean(axis=1)
        return found

    with arithmetic("float32"):
        before = None if given.found is None else given.found.astype(bool)
        kept = acdc(graph, choice.threshold, choice.rank == "absolute", values_of, before, given.parts)
    return Found(kept)
