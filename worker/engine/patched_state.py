"""The state of a final run: the residual stream at the rows that can change, and what is patched into it."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from api_schemas.nodes import Node
from worker.engine.changed_attention import Sight
from worker.engine.positions import RowMap, Rows
from worker.engine.runs import Runs
from worker.engine.senders import Changes


@dataclass(frozen=True, eq=False)
class Replacement:
    """What is patched into the final run at one node, the same node in every cell.

    A receiver's residual-stream input changes by ``change``; without one, the activation is set to its source value.
    """

    node: Node
    mask: Bool[Tensor, "batch row"]
    change: Changes | None = None
    overwrite: bool = False

    @property
    def heads(self) -> list[int] | None:
        return None if self.node.head is None else [self.node.head]

    def moved(self, to: RowMap) -> "Replacement":
        """The same at other rows."""
        mask = to.move(self.mask[:, None])[:, 0]
        if self.change is None:
            return replace(self, mask=mask)
        return replace(self, mask=mask, change=Changes(to.move(self.change.value), to.move(self.change.touched)))

    def input(
        self, live: Float[Tensor, "batch any_cell row d_model"], orig: Float[Tensor, "batch one row d_model"]
    ) -> Float[Tensor, "batch cell row d_model"]:
        """The receiver's changed input: ``add`` to the live one, or ``overwrite`` by orig plus the change."""
        assert self.change is not None
        if not self.overwrite:
            return live + self.change.value
        return torch.where(self.mask[:, None, :, None], orig + self.change.value, live)


@dataclass(frozen=True, eq=False)
class State:
    """The residual stream of every cell at the computed rows; None while it still equals orig."""

    resid: Float[Tensor, "batch cell row d_model"] | None
    touched: Bool[Tensor, "batch cell row"]
    """Rows that a change has reached; the others are orig's, bit for bit, whatever was recomputed."""
    rows: Rows

    @property
    def n_cells(self) -> int:
        return self.touched.shape[1]


def orig_state(runs: Runs, rows: Rows, n_cells: int) -> State:
    """Before anything is patched."""
    touched = torch.zeros(runs.n_examples, n_cells, rows.n_rows, dtype=torch.bool, device=runs.weights.device)
    return State(None, touched, rows)


def live_or_orig(runs: Runs, state: State, hook: str, layer: int) -> Float[Tensor, "batch any_cell row d_model"]:
    """The residual stream at a point, one cell wide while it equals orig."""
    return state.rows.take(runs.orig(hook, layer))[:, None] if state.resid is None else state.resid


def set_value(
    runs: Runs,
    replacement: Replacement,
    point: tuple[str, int | None],
    rows: Rows,
    live: Tensor,
    heads: list[int] | None = None,
) -> tuple[Tensor, Bool[Tensor, "batch one row"]]:
    """An activation set to its source value at the patched positions, and where that differs from orig."""
    mask = replacement.mask
    source, orig = rows.take(runs.source_value(*point)), rows.take(runs.orig(*point))
    if heads is not None:
        source, orig = source[:, :, heads], orig[:, :, heads]
    wide = mask[(slice(None), None, slice(None), *[None] * (live.dim() - 3))]
    differs = (source != orig).flatten(2).any(dim=-1)[:, None] & mask[:, None]
    return torch.where(wide, source[:, None], live), differs


def replace_residual(runs: Runs, state: State, hook: str, layer: int, replacements: list[Replacement]) -> State:
    """Patch the residual stream itself, or what was just written to it (``attn_out``, ``mlp_out``, embeddings)."""
    for replacement in replacements:
        live = live_or_orig(runs, state, hook, layer)
        if replacement.change is not None:
            orig = state.rows.take(runs.orig(hook, layer))[:, None]
            resid, differs = replacement.input(live, orig), replacement.change.touched
        else:
            resid, differs = set_value(runs, replacement, (hook, layer), state.rows, live)
        resid = resid.expand(-1, state.n_cells, -1, -1)
        state = State(resid, state.touched | differs, state.rows)
    return state


def replace_written(
    runs: Runs,
    before: Float[Tensor, "batch any_cell row d_model"],
    after: State,
    hook: str,
    layer: int,
    patches: list[Replacement],
) -> State:
    """Set what attention or the MLP wrote (``attn_out``, ``mlp_out``) to its source value, at the patched positions.

    Args:
        before: The stream before that was written, at the rows of ``after``.
    """
    point = ("resid_mid", layer) if hook == "attn_out" else ("resid_pre", layer + 1)
    for patch in patches:
        live = live_or_orig(runs, after, *point)
        source, orig = (after.rows.take(values(hook, layer))[:, None] for values in (runs.source_value, runs.orig))
        differs = (source != orig).any(dim=-1) & patch.mask[:, None]
        resid = torch.where(patch.mask[:, None, :, None], before + source, live)
        after = State(resid.expand(-1, after.n_cells, -1, -1), after.touched | differs, after.rows)
    return after


@dataclass(frozen=True, eq=False)
class Sights:
    """What the query rows of a layer see: with changed keys at the computed rows, and with none."""

    queries: Rows
    live: Sight
    frozen: Sight


def moved_state(state: State, to: RowMap | None, rows: Rows) -> State:
    """The state at other rows."""
    if to is None or to.same:
        return state
    resid = None if state.resid is None else to.move(state.resid)
    return State(resid, to.move(state.touched), rows)
