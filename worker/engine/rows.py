"""Rows: the positions of the residual stream that are computed, and what each of them attends to.

Masks over positions are planned on the host, as numpy arrays, so that no shard waits for a device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from planning.positions import Mask


@dataclass(frozen=True, eq=False)
class Rows:
    """The positions that are computed, per example, ascending; shorter examples are padded with invalid rows."""

    mask: Mask
    positions: NDArray[np.int64]
    """Position of each row, on the host."""
    real: Mask
    """Which rows are valid, on the host."""
    index: Int[Tensor, "batch row"]
    valid: Bool[Tensor, "batch row"]
    window: slice | None
    """The same run of positions in every example, where there is one: rows are then views."""

    @property
    def n_rows(self) -> int:
        """Rows per example, padding included."""
        return int(self.positions.shape[1])

    def take(self, values: Shaped[Tensor, "batch pos *rest"]) -> Shaped[Tensor, "batch row *rest"]:
        """The rows of values at all positions."""
        if self.window is not None:
            return values[:, self.window]
        batch = torch.arange(len(self.index), device=values.device)[:, None]
        return values[batch, self.index]

    def at_rows(self, mask: Mask) -> Bool[Tensor, "batch row"]:
        """A mask over positions, read at these rows; False at invalid rows."""
        found = np.take_along_axis(mask, self.positions, axis=1) & self.real
        return torch.from_numpy(found).to(self.index.device)


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
    index, valid = torch.from_numpy(positions).to(device), torch.from_numpy(real).to(device)
    return Rows(mask, positions, real, index, valid, window)


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
    return RowMap(torch.from_numpy(place).to(device), torch.from_numpy(found).to(device), same)


@dataclass(frozen=True, eq=False)
class Sight:
    """Which keys each query row sees: orig's cached ones, and in their place those of the computed rows."""

    queries: Rows
    keys: Rows
    n_cached: int
    """Cached keys lie in positions 0 to ``n_cached - 1``; zero where every visible position is a changed row."""
    cached: Bool[Tensor, "batch query_row key_pos"]
    computed: Bool[Tensor, "batch query_row key_row"]
    whole_prompts: bool
    """Whether the changed rows are all positions, so that plain causal attention does."""


def split_pattern(
    seen: Sight, pattern: Float[Tensor, "batch query_row heads pos"]
) -> Float[Tensor, "batch query_row heads split_key"]:
    """A pattern over positions as one over cached positions, then changed rows."""
    cached = pattern[..., : seen.n_cached] * seen.cached[:, :, None]
    index = seen.keys.index[:, None, None, :].expand(*pattern.shape[:3], -1)
    changed = pattern.gather(-1, index) * seen.computed[:, :, None]
    return torch.cat([cached, changed], dim=-1)


def _sees(query_pos: NDArray[np.int64], key_pos: NDArray[np.int64], window: int | None) -> NDArray[np.bool_]:
    seen = key_pos <= query_pos
    return seen if window is None else seen & (key_pos > query_pos - window)


def sight(queries: Rows, keys: Rows, window: int | None = None) -> Sight:
    """Plan the masks on the host.

    Args:
        window: Keys that a query sees, itself included; None: all before it.
    """
    device = queries.index.device
    n_pos = keys.mask.shape[1]
    position = np.arange(n_pos)
    before = _sees(queries.positions[:, :, None], position[None, None, :], window)
    cached = before & ~keys.mask[:, None, :] & queries.real[:, :, None]
    n_cached = int(position[cached.any(axis=(0, 1))].max(initial=-1)) + 1
    changed = _sees(queries.positions[:, :, None], keys.positions[:, None, :], window) & keys.real[:, None, :]
    blind = ~(cached.any(axis=2) | changed.any(axis=2))
    changed[..., 0] |= blind  # an invalid row sees something, so that no softmax is empty
    starts_at_0 = keys.window is not None and keys.window.start == 0 and n_cached == 0
    whole = (
        starts_at_0
        and queries.positions.shape == keys.positions.shape
        and bool((queries.positions == keys.positions).all())
    )
    return Sight(
        queries,
        keys,
        n_cached,
        torch.from_numpy(cached[..., :n_cached]).to(device),
        torch.from_numpy(changed).to(device),
        whole,
    )
