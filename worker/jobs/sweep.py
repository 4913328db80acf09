"""Exact path and activation patching of every cell. Phases: means if they are patched, then the cells."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from api_schemas.nodes import Node
from api_schemas.spec import JobSpec
from planning.graph import Graph
from planning.grid import End, Grid
from planning.positions import Places
from planning.reach import path_counts
from worker.engine.checks import completeness, identity_max_abs, largest_difference
from worker.engine.memory import Portion
from worker.engine.model import Weights
from worker.engine.sweep import Values
from worker.jobs.kind import AssembledResult, Job, Merged, ShardInput, ShardSettings
from worker.jobs.means import mean_of, sums_of_shard
from worker.jobs.merging import merged_outputs
from worker.jobs.moments import moments_on_device
from worker.jobs.records import CellRange, Checks, Means, MetricValues, SweepOutput, pack, unpack
from worker.jobs.result import assemble
from worker.jobs.shard import Examples, Shard, arithmetic

DEVIATION_EXAMPLES = 4
"""With ``dtype: tf32 | bfloat16``, how many examples of each shard are also run in float32."""
CELLS_CHECKED = 4
"""The identity check looks at so many senders and receivers."""


class SweepKind:
    """Path and activation patching, exact."""

    def phases(self, spec: JobSpec) -> tuple[str, ...]:
        """``means`` over the dataset if they are patched, then the cells."""
        return ("means", "patch") if spec.patch.source == "mean" else ("patch",)

    def run_shard(
        self, weights: Weights, job: Job, shard: ShardInput, phase: str, carry: bytes, settings: ShardSettings
    ) -> bytes:
        """Sums for the means, or the metrics of every cell."""
        if phase == "means":
            return pack(sums_of_shard(weights, job, shard, settings))
        means = unpack(Means, carry) if carry else Means()
        return pack(cells_of_shard(weights, job, shard, means, settings, Shard.sweep))

    def merge(self, job: Job, phase: str, carry: bytes, outputs: list[bytes]) -> Merged | None:
        """The means, for the phase that patches them."""
        return Merged(pack(mean_of(outputs, job.spec.patch.mean_over)), "patch") if phase == "means" else None

    def result(self, job: Job, carry: bytes, outputs: list[bytes]) -> AssembledResult:
        """The cells of all shards together."""
        return assemble(job, merged_outputs([unpack(SweepOutput, output) for output in outputs]), None)


def cells_of_shard(
    weights: Weights,
    job: Job,
    shard_input: ShardInput,
    means: Means,
    settings: ShardSettings,
    sweep: Callable[[Shard, Examples], list[Values]],
) -> SweepOutput:
    """Metrics of every cell of the shard, orig and new, and the checks.

    Args:
        sweep: How some examples of a shard are swept: exactly, or estimated.
    """
    shard = Shard.of(weights, job, shard_input, means, settings)

    def work(start: int, stop: int, portion: Portion) -> SweepOutput:
        examples = shard.examples(start, stop, portion.rows)
        values = sweep(shard, examples)
        return _output(shard, examples, values, _checks(shard, examples) if start == 0 else Checks())

    output = merged_outputs(shard.in_portions(work))
    if job.spec.dtype != "float32" and not weights.is_rounded:
        deviation = _deviation(weights.to(settings.device), shard)
        output = replace(output, checks=replace(output.checks, dtype=deviation))
    return output


def _output(shard: Shard, examples: Examples, values: list[Values], checks: Checks) -> SweepOutput:
    """A batch's numbers, as they cross to the host."""
    dataset, grid, reads = examples.dataset, shard.grid, examples.batch.reads
    counts = path_counts(grid, Places(shard.spec.patch.positions, dataset, shard.graph), shard.paths)
    n_senders, n_receivers = grid.sizes
    return SweepOutput(
        n_examples=len(dataset),
        start=dataset.start,
        cells=CellRange((grid.start[0], grid.start[0] + n_senders), (grid.start[1], grid.start[1] + n_receivers)),
        metrics=[
            _values(value, orig, new, shard.keeps_examples)
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


def _checks(shard: Shard, examples: Examples) -> Checks:
    """Of the portion that has the shard's first example; completeness once for the whole job."""
    few = replace(shard, grid=sample_grid(shard.grid, shard.graph))
    alone = few.first_example(examples)
    identity = identity_max_abs(alone.batch, lambda batch: few.sweep(replace(alone, batch=batch)))
    if shard.dataset.start or any(shard.grid.start):
        return Checks(identity)
    last = len(shard.dataset.orig[0]) - 1
    return Checks(identity, np.array(completeness(examples.batch.runs, last, shard.through_mlps)))


def sample_grid(grid: Grid, graph: Graph) -> Grid:
    """A few cells from all over a grid, of those that some path connects."""

    def spread(cells: list[list[Node]]) -> End:
        chosen = np.linspace(0, len(cells) - 1, min(CELLS_CHECKED, len(cells))).astype(int)
        return End([], [cells[index] for index in chosen])

    if grid.receivers is None:
        return Grid(spread(grid.senders.cells), None)
    receivers = spread(grid.receivers.cells)
    nodes = [node for cell in receivers.cells for node in cell]
    connected = [cell for cell in grid.senders.cells if any(graph.reaches(node, nodes) for node in cell)]
    return Grid(spread(connected or grid.senders.cells), receivers)


def _deviation(float32: Weights, shard: Shard) -> float:
    """Largest deviation of any metric from float32, on the first examples."""
    few = replace(shard, weights=float32, dataset=shard.dataset.slice(0, DEVIATION_EXAMPLES), cache=None)
    stop, rows = len(few.dataset), few.first_portion.rows
    with arithmetic("float32"):
        exact = few.swept(0, stop, rows)
    with arithmetic(shard.spec.dtype):
        fast = shard.swept(0, stop, rows)
    return max(largest_difference(one.float(), two) for one, two in zip(fast, exact, strict=True))
