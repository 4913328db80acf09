"""What a shard hands in: numbers or their moments, and in how many examples each cell has a path."""

from dataclasses import replace

import numpy as np

from planning.prompts import Places
from planning.reach import path_counts
from worker.engine.sweep import Values
from worker.jobs.moments import moments_on_device
from worker.jobs.records import CellRange, Checks, MetricValues, SweepOutput
from worker.jobs.shard import Examples, Job, Shard


def output_of(job: Job, shard: Shard, examples: Examples, values: list[Values], checks: Checks) -> SweepOutput:
    """A batch's numbers, as they cross to the host."""
    dataset, grid, reads = examples.dataset, shard.grid, examples.batch.reads
    counts = path_counts(grid, Places(shard.spec.patch.positions, dataset, shard.graph), shard.paths)
    n_senders, n_receivers = grid.sizes
    keeps_examples = job.spec.per_example or len(job.grid) == 1
    return SweepOutput(
        n_examples=len(dataset),
        start=dataset.start,
        cells=CellRange((grid.start[0], grid.start[0] + n_senders), (grid.start[1], grid.start[1] + n_receivers)),
        metrics=[
            _values(value, orig, new, keeps_examples)
            for value, orig, new in zip(values, reads.orig_values, reads.new_values, strict=True)
        ],
        checks=checks,
        patched_examples=counts.by_cell,
        is_reached=(counts.by_sender > 0).astype(np.int32),
    )


def _values(value: Values, orig: Values, new: Values, keeps_examples: bool) -> MetricValues:
    """Per example, or their moments."""
    clean = MetricValues(orig[:, 0].cpu().numpy(), new[:, 0].cpu().numpy())
    if keeps_examples:
        return replace(clean, patched=value.cpu().numpy())
    wide = value.double()
    patched, effect = moments_on_device(wide), moments_on_device(wide - orig.double())
    return replace(clean, patched_moments=patched, effect_moments=effect)
