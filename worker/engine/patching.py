"""One grid of patches on one batch of examples: all that the algorithm needs to know."""

from dataclasses import dataclass

import torch

from api_schemas.nodes import Node
from planning.grid import Grid
from worker.engine.patched_state import Replacement
from worker.engine.plan import Where
from worker.engine.positions import Rows
from worker.engine.reads import Reads
from worker.engine.runs import Runs
from worker.engine.senders import Changes


@dataclass(frozen=True, eq=False)
class Patching:
    """One grid of patches on one batch of examples, ready to run."""

    runs: Runs
    grid: Grid
    where: Where
    reads: Reads
    through_mlps: bool
    overwrite: bool
    rows_at_once: int
    """How many rows of the residual stream (cells x examples x positions) are in work together."""

    @property
    def device(self) -> torch.device:
        return self.runs.weights.device

    def cells_at_once(self, rows: Rows) -> int:
        return max(1, self.rows_at_once // (self.runs.n_examples * rows.n_rows))


def replacement(patching: Patching, node: Node, rows: Rows, changes: Changes | None) -> Replacement:
    """A receiver with its input's change, at its own positions; or an activation to set."""
    own = patching.where.of(node)
    mask = rows.at_rows(own)
    if changes is not None and not (own | ~rows.mask).all():
        at_rows = mask[:, None]
        changes = Changes(changes.value * at_rows[..., None], changes.touched & at_rows)
    return Replacement(node, mask, changes, patching.overwrite)
