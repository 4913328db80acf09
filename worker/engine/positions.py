"""Positions: from a spec's words to masks over tokens, and from masks to the rows that are computed.

Masks are planned on the host, as numpy arrays of shape (batch, pos), so that no shard waits for a device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import PositionRef, Positions

Mask = NDArray[np.bool_]


def real_tokens(dataset: ResolvedDataset) -> Mask:
    """True where a prompt has a token, False in its right-padding."""
    lengths = np.array([len(prompt) for prompt in dataset.orig])
    return np.arange(dataset.longest)[None, :] < lengths[:, None]


def after_first_difference(dataset: ResolvedDataset) -> Mask:
    """True from the first token on in which an example's new prompt differs from orig: before it, both runs are one.

    Attention is causal, so this is exact; two forward passes agree there to float error only.
    """
    mask = np.zeros((len(dataset), dataset.longest), dtype=bool)
    for row, (orig, new) in enumerate(zip(dataset.orig, dataset.new, strict=True)):
        mask[row, : len(orig)] = np.array(orig) != np.array(new)
    return real_tokens(dataset) & np.logical_or.accumulate(mask, axis=1)


def positions_of(reference: PositionRef, dataset: ResolvedDataset) -> NDArray[np.int64]:
    """One position per example: a role's, or the same index for all."""
    if isinstance(reference, str):
        return np.array(dataset.roles[reference], dtype=np.int64)
    return np.full(len(dataset), reference, dtype=np.int64)


def one_position(reference: PositionRef, dataset: ResolvedDataset) -> Mask:
    """True at one position per example."""
    return np.asarray(np.arange(dataset.longest)[None, :] == positions_of(reference, dataset)[:, None])


def mask_of(positions: Positions | None, dataset: ResolvedDataset) -> Mask:
    """True at the positions meant; absent means every token of the prompt.

    A list per example is indexed by the whole dataset, of which ``dataset`` may be a slice.
    """
    real = real_tokens(dataset)
    if positions is None:
        return real
    if not isinstance(positions, list):
        return real & one_position(positions, dataset)
    mask = np.zeros_like(real)
    if positions and isinstance(positions[0], list):
        for row, places in enumerate(positions[dataset.start : dataset.start + len(dataset)]):
            assert isinstance(places, list)
            mask[row, [place for place in places if place < mask.shape[1]]] = True
        return real & mask
    for reference in positions:
        assert not isinstance(reference, list)
        mask |= one_position(reference, dataset)
    return real & mask


def up_to(mask: Mask) -> Mask:
    """True at and before an example's last True: what attention lets those positions see."""
    return np.logical_or.accumulate(mask[:, ::-1], axis=1)[:, ::-1]


def span(mask: Mask, last: Mask) -> Mask:
    """True from an example's first True of ``mask`` to its last True of ``last``: where a change can spread."""
    return np.logical_or.accumulate(mask, axis=1) & up_to(last)


@dataclass(frozen=True, eq=False)
class Rows:
    """The positions that are computed, per example, ascending; shorter examples are padded with invalid rows."""

    mask: Mask
    places: NDArray[np.int64]
    """Position of each row, on the host."""
    real: Mask
    """Which rows are valid, on the host."""
    index: Int[Tensor, "batch row"]
    valid: Bool[Tensor, "batch row"]
    window: slice | None
    """The same run of positions in every example, where there is one: rows are then views."""

    @property
    def n_rows(self) -> int:
        return int(self.places.shape[1])

    def take(self, values: Shaped[Tensor, "batch pos *rest"]) -> Shaped[Tensor, "batch row *rest"]:
        """The rows of values at all positions."""
        if self.window is not None:
            return values[:, self.window]
        batch = torch.arange(len(self.index), device=values.device)[:, None]
        return values[batch, self.index]

    def at_rows(self, mask: Mask) -> Bool[Tensor, "batch row"]:
        """A mask over positions, read at these rows; False at invalid rows."""
        found = np.take_along_axis(mask, self.places, axis=1) & self.real
        return torch.from_numpy(found).to(self.index.device)


def rows_of(mask: Mask, device: torch.device) -> Rows:
    """The rows of a mask."""
    counts = mask.sum(axis=1)
    n_rows = max(int(counts.max()), 1)
    places = np.argsort(~mask, axis=1, kind="stable")[:, :n_rows].astype(np.int64)
    real = np.arange(n_rows)[None, :] < counts[:, None]
    start = int(places[np.argmax(counts), 0])
    run = np.arange(start, start + n_rows)
    window = None
    if start + n_rows <= mask.shape[1] and bool(((places == run) | ~real).all()):
        places = np.broadcast_to(run, places.shape).copy()
        window = slice(start, start + n_rows)
    return Rows(mask, places, real, torch.from_numpy(places).to(device), torch.from_numpy(real).to(device), window)


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
    found = np.take_along_axis(old.mask, new.places, axis=1) & new.real
    place = np.where(found, np.take_along_axis(order, new.places, axis=1), 0)
    same = old.places.shape == new.places.shape and bool((old.mask == new.mask).all())
    device = new.index.device
    return RowMap(torch.from_numpy(place).to(device), torch.from_numpy(found).to(device), same)
