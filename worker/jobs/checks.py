"""Checks that a shard makes of its own numbers: not on the way to a number, but before it is handed in."""

from dataclasses import replace

import numpy as np

from api_schemas.nodes import Node
from planning.graph import Graph
from planning.grid import End, Grid
from worker.engine.checks import completeness, identity_max_abs, largest_difference
from worker.engine.model import Weights
from worker.jobs.records import Checks
from worker.jobs.shard import Examples, Shard, arithmetic

DEVIATION_EXAMPLES = 4
"""With ``dtype: tf32 | bfloat16``, how many examples of each shard are also run in float32."""
CELLS_CHECKED = 4
"""The identity check looks at so many senders and receivers."""


def checks_of(shard: Shard, examples: Examples) -> Checks:
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


def deviation_of(float32: Weights, shard: Shard) -> float:
    """Largest deviation of any metric from float32, on the first examples."""
    few = replace(shard, weights=float32, dataset=shard.dataset.slice(0, DEVIATION_EXAMPLES), cache=None)
    stop, rows = len(few.dataset), few.first_portion.rows
    with arithmetic("float32"):
        exact = few.swept(0, stop, rows)
    with arithmetic(shard.spec.dtype):
        fast = shard.swept(0, stop, rows)
    return max(largest_difference(one.float(), two) for one, two in zip(fast, exact, strict=True))
