"""The mean over the dataset of what the new runs compute: a phase of its own, before it is patched."""

from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from api_schemas.nodes import Node
from api_schemas.sources import MeanOver
from planning.prompts import Mask, real_tokens
from worker.engine.memory import Portion
from worker.engine.model import Weights
from worker.engine.rows import on_device
from worker.engine.runs import Runs, mean_name
from worker.jobs.records import Means, Numbers, unpack
from worker.jobs.shard import Job, Shard, ShardInput, ShardSettings


def sums_of_shard(weights: Weights, job: Job, shard_input: ShardInput, settings: ShardSettings) -> Means:
    """Sums over the shard's examples, per position of the whole dataset; of slices of cells the first adds up alone."""
    if shard_input.cells is not None and not shard_input.cells.is_first:
        return Means()
    exact = replace(job, spec=job.spec.model_copy(update={"dtype": "float32"}))  # whatever the patches are run in
    shard = Shard.of(weights, exact, replace(shard_input, cells=None), Means(), settings)
    nodes = [node for cell in shard.grid.senders.cells for node in cell]

    def work(start: int, stop: int, portion: Portion) -> Means:
        dataset = shard.dataset.slice(start, stop)
        real = real_tokens(dataset)
        sums = _sums(Runs(shard.activations(dataset)), nodes, real)
        values = {name: padded(name, value, job.longest) for name, value in sums.items()}
        return Means(values, padded("count", real.sum(axis=0), job.longest))

    return reduce(added, shard.in_portions(work))


def added(first: Means, second: Means) -> Means:
    """Sums of both."""
    if first.count is None or second.count is None:
        return second if first.count is None else first
    return Means(
        {name: value + second.values[name] for name, value in first.values.items()}, first.count + second.count
    )


def mean_of(outputs: list[bytes], over: MeanOver) -> Means:
    """The means, from the sums of all shards: of each position, or the same for ``all``."""
    total = reduce(added, (unpack(Means, output) for output in outputs))
    assert total.count is not None
    if over == "all":
        n_pos, n_values = len(total.count), total.count.sum()
        means = {name: value.sum(axis=0, keepdims=True) / n_values for name, value in total.values.items()}
        return Means({name: np.repeat(value.astype(np.float32), n_pos, axis=0) for name, value in means.items()})
    count = np.maximum(total.count, 1)
    means = {name: value / count.reshape(-1, *[1] * (value.ndim - 1)) for name, value in total.values.items()}
    return Means({name: value.astype(np.float32) for name, value in means.items()})


def _sums(runs: Runs, nodes: list[Node], real: Mask) -> dict[str, Numbers]:
    """Sums of the new run's activations over examples, per position, in float64; padding does not count."""
    mask = on_device(real, runs.weights.device)
    sums: dict[str, Numbers] = {}
    for hook, layer in sorted({(node.hook, node.layer) for node in nodes}, key=str):
        value = runs.new(hook, layer).double()
        wide = mask[(slice(None), slice(None), *[None] * (value.dim() - 2))]
        sums[mean_name(hook, layer)] = (value * wide).sum(dim=0).cpu().numpy()
    return sums


def padded(name: str, values: Numbers, longest: int) -> NDArray[np.generic]:
    """Zeros for the positions that no prompt of this shard has; a pattern's keys are padded too."""
    missing = longest - values.shape[0]
    widths = [(0, missing)] + [(0, 0)] * (values.ndim - 1)
    if name.startswith("pattern"):
        widths[-1] = (0, missing)
    return np.pad(values, widths)
