"""Checks that every job computes in its own run: orig patched with itself, and everything patched into the end."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from api_schemas.nodes import Node, reaches
from planning.grid import End, Grid
from worker.engine import forward
from worker.engine.patching import Patching
from worker.engine.path_patch import patched_metrics
from worker.engine.positions import rows_of
from worker.engine.runs import Runs
from worker.engine.senders import STAGES_PER_LAYER, input_changes, writes_of

CELLS_CHECKED = 4


def largest_difference(first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"]) -> float:
    """Largest absolute difference; two NaNs in one place do not differ."""
    same = (first == second) | (first.isnan() & second.isnan())
    return float(torch.where(same, 0.0, (first - second).abs().double()).max())


def sample_grid(grid: Grid) -> Grid:
    """A few cells from all over a grid, of those that some path connects."""

    def spread(end: End, cells: list[list[Node]]) -> End:
        chosen = np.linspace(0, len(cells) - 1, min(CELLS_CHECKED, len(cells))).astype(int)
        return End([], [cells[place] for place in chosen])

    if grid.receivers is None:
        return Grid(spread(grid.senders, grid.senders.cells), None)
    receivers = spread(grid.receivers, grid.receivers.cells)
    nodes = [node for cell in receivers.cells for node in cell]
    connected = [cell for cell in grid.senders.cells if any(reaches(node, nodes) for node in cell)]
    return Grid(spread(grid.senders, connected or grid.senders.cells), receivers)


def identity_max_abs(patching: Patching) -> float:
    """Largest change of any metric when orig is patched with itself; must be exactly 0.

    The job's own path runs, with orig as the source. Every sender's change must come out as exactly 0, since a row
    counts as untouched, and keeps orig's value bit for bit, only if all changes that lead to it are. (Whether a row
    that was recomputed without need has the same bits depends on the shape of the product; such rows are never read.)
    """
    itself = replace(patching, runs=patching.runs.patched_with_itself())
    values = patched_metrics(itself)
    orig = itself.reads.orig_values
    return max(largest_difference(value, own.expand(value.shape)) for value, own in zip(values, orig, strict=True))


def completeness(runs: Runs, last: int, through_mlps: bool) -> tuple[float, float]:
    """How well all writers together, patched into the last residual stream, reproduce the first example's new logits.

    It depends on weights, prompts and algorithm alone, and is kept with the activations that it checks.

    Args:
        last: The example's last position, at which logits are compared.

    Returns:
        The largest absolute difference, and the largest absolute logit, to which float error is relative.
    """
    known = runs.activations.completeness
    if through_mlps not in known:
        known[through_mlps] = _completeness(runs, last, through_mlps)
    return known[through_mlps]


def _completeness(runs: Runs, last: int, through_mlps: bool) -> tuple[float, float]:
    weights = runs.weights
    runs = replace(runs.first_example(last + 1), source="new")
    writers = [Node(hook="embed"), Node(hook="pos_embed")]
    for layer in range(weights.n_layers):
        writers += [Node(hook="attn_out", layer=layer), Node(hook="mlp_out", layer=layer)]
    mask = np.arange(runs.activations.tokens.shape[1])[None] == last
    rows = rows_of(mask, weights.device)
    end = weights.n_layers * STAGES_PER_LAYER
    writes = writes_of([writers], lambda node: mask)
    ((_, changes),) = input_changes(runs, writes, [-1], rows, [end], through_mlps)
    patched = rows.take(runs.orig("resid_pre", weights.n_layers)) + changes.value[:, 0]
    both = torch.cat([patched, rows.take(runs.new("resid_pre", weights.n_layers))])
    logits = forward.unembed(weights, forward.final_norm(weights, both)).float()
    return largest_difference(logits[0], logits[1]), float(logits[1].abs().max())
