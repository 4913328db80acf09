"""Run a job's shards in this process: what a worker does, without a queue.

With ``PATHPATCH_TEST_DEVICE=cuda:0`` on that device, so that the tests of the engine hold there too.
"""

import os
from collections.abc import Hashable, Sequence
from functools import lru_cache
from itertools import pairwise

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from planning.architecture import Architecture
from planning.grid import CellSlice
from worker.engine.model import Weights
from worker.jobs.kind import AssembledResult
from worker.jobs.run import kind_of, opened, sealed
from worker.jobs.shard import Job, ShardInput, ShardSettings

PLENTY = ShardSettings(memory_bytes=2**30, activation_cache=None)
TEST_DEVICE = os.environ.get("PATHPATCH_TEST_DEVICE")


@lru_cache(maxsize=64)
def on_test_device(weights: Weights) -> Weights:
    """The same weights where the tests are to run."""
    return weights.to(TEST_DEVICE)


def run_shard(
    weights: Weights,
    spec: JobSpec,
    dataset: ResolvedDataset,
    longest: int,
    phase: str = "patch",
    carry: bytes = b"",
    settings: ShardSettings = PLENTY,
    cells: CellSlice | None = None,
    job_id: Hashable = None,
) -> bytes:
    """One phase on some of a job's examples and cells."""
    if TEST_DEVICE:
        weights = on_test_device(weights)
    job = Job(spec, weights.architecture, longest, job_id or object())
    return kind_of(spec).run_shard(weights, job, ShardInput(dataset, cells), phase, carry, settings)


def assemble(
    spec: JobSpec, architecture: Architecture, longest: int, carry: bytes, outputs: list[bytes]
) -> AssembledResult:
    """The result from the outputs of a job's last phase."""
    return kind_of(spec).result(Job(spec, architecture, longest), carry, outputs)


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
    job, stored = Job(spec, weights.architecture, dataset.longest), b""
    while True:
        phase, carry = opened(spec, stored)
        outputs = [
            run_shard(weights, spec, part, dataset.longest, phase, carry, settings, own, job.id)
            for part in examples
            for own in cells
        ]
        merged = kind_of(spec).merge(job, phase, carry, outputs)
        if merged is None:
            return kind_of(spec).result(job, carry, outputs)
        stored = sealed(merged)
