"""Run a job's shards in this process: what a worker does, without a queue."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from safetensors.numpy import load, save

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from worker.engine.weights import GPT2Weights
from worker.jobs.experiment import AssembledResult, ShardSettings, assemble, finish_phase, phases, run_shard

PLENTY = ShardSettings(memory_bytes=2**30, device="cpu", activation_cache=None)


def run_job(
    weights: GPT2Weights,
    spec: JobSpec,
    dataset: ResolvedDataset,
    cuts: Sequence[int] = (),
    settings: ShardSettings = PLENTY,
) -> AssembledResult:
    """A job's result.

    Args:
        cuts: Examples at which a new shard begins, ascending.
    """
    shards = [dataset.slice(start, stop) for start, stop in pairwise([0, *cuts, len(dataset)])]
    shape, longest = weights.shape, dataset.longest
    phase_input: dict[str, np.ndarray] = {}
    *earlier, last = phases(spec)
    for phase in earlier:
        outputs = [as_stored(run_shard(weights, spec, s, longest, phase, phase_input, settings)) for s in shards]
        phase_input = as_stored(finish_phase(spec, shape, longest, phase, outputs))
    outputs = [as_stored(run_shard(weights, spec, s, longest, last, phase_input, settings)) for s in shards]
    return assemble(spec, shape, longest, len(dataset), phase_input, outputs)


def as_stored(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays as they come back from the store."""
    return load(save({name: np.ascontiguousarray(value) for name, value in arrays.items()}))
