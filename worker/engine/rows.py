"""Rows of the residual stream: which are computed, and the way from and to all positions.

Masks over positions are planned on the host, as numpy arrays, so that no shard waits for a device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from planning.prompts import Mask, Prefixes

LEAST_PADDING = 0.05
"""A smaller share of invalid rows is computed with the others: to leave them out costs as much."""


def on_device(values: NDArray[Any] | Sequence[Any], device: torch.device) -> Tensor:
    """Values of the host on a device; the copy joins the device's queue, and nobody waits for what is before it."""
    return torch.as_tensor(values).to(device, non_blocking=True)


def chosen(places: Sequence[int], device: torch.device) -> slice | Int[Tensor, " places"]:
    """Some places as an index, which gives a view where they are neighbours.

    A list as an index would make the host wait for the device.
    """
    start = places[0] if places else 0
    if list(places) == list(range(start, start + len(places))):
        return slice(start, start + len(places))
    return on_device(places, device)


@dataclass(frozen=True, eq=False)
class Rows:
    """The positions that are computed, per example, ascending; shorter examples are padded with invalid rows."""

    mask: Mask
    positions: NDArray[np.int64]
    """Position of each row, on the host."""
    real: Mask
    """Which rows are valid, on the host."""
    n_rows: int
    """Rows per example, padding included."""
    index: Int[Tensor, "batch row"]
    valid: Bool[Tensor, "batch row"]
    window: slice | None
    """The same run of positions in every example, where there is one: rows are then views."""
    _side_by_side: dict[int, "SideBySide"] = field(default_factory=dict)
    """By number of cells."""

    def take(self, values: Shaped[Tensor, "batch pos *rest"]) -> Shaped[Tensor, "batch row *rest"]:
        """The rows of values at all positions."""
        if self.window is not None:
            return values[:, self.window]
        batch = torch.arange(len(self.index), device=values.device)[:, None]
        return values[batch, self.index]

    def at_rows(self, mask: Mask) -> Bool[Tensor, "batch row"]:
        """A mask over positions, read at these rows; False at invalid rows."""
        found = np.take_along_axis(mask, self.positions, axis=1) & self.real
        return on_device(found, self.index.device)

    def side_by_side(self, n_cells: int) -> "SideBySide":
        """The way to the valid rows alone, of so many cells."""
        if n_cells not in self._side_by_side:
            shape, index = (len(self.real), n_cells, self.n_rows), None
            if self.real.mean() <= 1 - LEAST_PADDING:
                valid = np.broadcast_to(self.real[:, None], shape)
                index = on_device(np.flatnonzero(valid), self.index.device)
            self._side_by_side[n_cells] = SideBySide(shape, index)
        return self._side_by_side[n_cells]


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Valid rows of all examples and cells side by side, as one example's one cell, and back."""

    shape: tuple[int, int, int]
    """Examples, cells, rows."""
    index: Int[Tensor, " packed"] | None
    """Where each is found among all; None where there is so little padding that all are taken as they are."""

    def pack(self, values: Shaped[Tensor, "batch cell row *rest"]) -> Shaped[Tensor, "examples cells packed *rest"]:
        """The valid rows."""
        return values if self.index is None else values.flatten(0, 2).index_select(0, self.index)[None, None]

    def unpack(self, packed: Shaped[Tensor, "examples cells packed *rest"]) -> Shaped[Tensor, "batch cell row *rest"]:
        """The rows where they belong; zero in the padding."""
        if self.index is None:
            return packed
        rest = packed.shape[3:]
        padded = packed.new_zeros((math.prod(self.shape), *rest))
        return padded.index_copy_(0, self.index, packed[0, 0]).view(*self.shape, *rest)


def rows_of(mask: Mask, device: torch.device) -> Rows:
    """The rows of a mask."""
    counts = mask.sum(axis=1)
    n_rows = max(int(counts.max()), 1)
    positions = np.argsort(~mask, axis=1, kind="stable")[:, :n_rows].astype(np.int64)
    real = np.arange(n_rows)[None, :] < counts[:, None]
    start = int(positions[np.argmax(counts), 0])
    run = np.arange(start, start + n_rows)
    window = None
    if start + n_rows <= mask.shape[1] and bool(((positions == run) | ~real).all()):
        positions = np.broadcast_to(run, positions.shape).copy()
        window = slice(start, start + n_rows)
    index, valid = on_device(positions, device), on_device(real, device)
    return Rows(mask, positions, real, n_rows, index, valid, window)


@dataclass(frozen=True, eq=False)
class RowMap:
    """Where each row of one set is found in another."""

    place: Int[Tensor, "batch row"]
    found: Bool[Tensor, "batch row"]
    same: bool
    """Whether both sets are the same, so that nothing has to move."""

    def move(self, values: Shaped[Tensor, "batch cell old_row *rest"]) -> Shaped[Tensor, "batch cell row *rest"]:
        """Values at the new rows; zero or False where the old set has none."""
        if self.same:
            return values
        batch = torch.arange(len(self.place), device=values.device)[:, None]
        moved = values.transpose(1, 2)[batch, self.place]  # (batch, row, cell, ...)
        found = self.found.view(*self.found.shape, *[1] * (moved.dim() - 2))
        return torch.where(found, moved, torch.zeros((), dtype=moved.dtype, device=moved.device)).transpose(1, 2)


def row_map(old: Rows, new: Rows) -> RowMap:
    """How to read, at rows ``new``, values that are known at rows ``old``."""
    order = np.cumsum(old.mask, axis=1) - 1
    found = np.take_along_axis(old.mask, new.positions, axis=1) & new.real
    place = np.where(found, np.take_along_axis(order, new.positions, axis=1), 0)
    same = old.positions.shape == new.positions.shape and bool((old.mask == new.mask).all())
    device = new.index.device
    return RowMap(on_device(place, device), on_device(found, device), same)


class Packing:
    """The rows of the clean runs: one for each distinct prefix of the prompts, side by side without padding."""

    def __init__(self, prefixes: Prefixes, device: torch.device) -> None:
        self.prefixes, place = prefixes, prefixes.place
        n_prompts, n_pos = place.shape
        groups = prefixes.attending()
        index = np.zeros_like(place)  # of every position, where it is found among the queries of all groups
        begin = 0
        for group in groups:
            size = len(group.prompts) * (n_pos - group.start)
            index[group.prompts, group.start :] = begin + np.arange(size).reshape(len(group.prompts), -1)
            begin += size
        ends, gathered = place[:: max(1, n_prompts // 2)][:2], index.ravel()[prefixes.first]
        known = (place, prefixes.first, prefixes.positions, ends, gathered, *(place[group.prompts] for group in groups))
        there = [on_device(indices, device) for indices in known]
        self.place, self.first, self.positions, self.ends, self.gathered, *rows = there
        """Which row stands at (prompt, position); of each row, where it is found first among all positions, its
        position, and where it is found among the queries of all groups. ``ends``: the first example's two runs."""
        self.groups = [(group.start, own) for group, own in zip(groups, rows, strict=True)]
        """Of prompts whose queries are computed together, the first such position, and their rows at all positions."""

    def pack(self, values: Shaped[Tensor, "prompt pos *rest"]) -> Shaped[Tensor, " row *rest"]:
        """The rows of values at all positions."""
        flat = values.flatten(0, 1)
        return flat if self.prefixes.are_all else flat.index_select(0, self.first)

    def unpack(self, rows: Shaped[Tensor, " row *rest"]) -> Shaped[Tensor, "prompt pos *rest"]:
        """The row that stands at each position."""
        found = rows if self.prefixes.are_all else rows.index_select(0, self.place.flatten())
        return found.view(*self.prefixes.place.shape, *rows.shape[1:])
