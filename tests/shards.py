"""Run a job's shards in this process: what a worker does, without a queue."""

from collections.abc import Sequence
from itertools import pairwise

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from planning.grid import CellSlice
from worker.engine.model import Weights
from worker.jobs.run import AssembledResult, ShardSettings, assemble, merge, opened, run_shard, sealed

PLENTY = ShardSettings(memory_bytes=2**30, device="cpu", activation_cache=None)


def run_job(
    weights: Weights,
    spec: JobSpec,
    dataset: ResolvedDataset,
    cuts: Sequence[int] = (),
    settings: ShardSettings = PLENTY,
    cells: Sequence[CellSlice | None] = (None,),
) -> AssembledResult:
    """A job's result.

    Args:
        cuts: Examples at which a new shard begins, ascending.
        cells: The slices of cells of each; together they are the grid.
    """
    examples = [dataset.slice(start, stop) for start, stop in pairwise([0, *cuts, len(dataset)])]
    shape, longest, stored = weights.architecture, dataset.longest, b""
    while True:
        phase, carry = opened(spec, stored)
        outputs = [
            run_shard(weights, spec, part, longest, phase, carry, settings, own) for part in examples for own in cells
        ]
        merged = merge(spec, shape, longest, phase, carry, outputs)
        if merged is None:
            return assemble(spec, shape, longest, carry, outputs)
        stored = sealed(merged)
