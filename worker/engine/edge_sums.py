"""What readers read in a run put together edge by edge: a stream, plus what the live edges into them carry."""

import math

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from worker.engine.rows import Rows, chosen, on_device

Read = Float[Tensor, "cell own_reader batch row d_model"]
DENSE, FEW = 0.65, 8
"""From this share of live edges into at least so many readers on, a product with the matrix of edges is faster than
sums over the live ones."""


class Memory:
    """Memory that one run after another uses: the pages of a large new tensor cost more than what is written there."""

    def __init__(self) -> None:
        self._numbers = torch.empty(0)

    def take(self, shape: tuple[int, ...], like: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "..."]:
        """A tensor of any content, valid until the next is taken."""
        size = math.prod(shape)
        if len(self._numbers) < size or self._numbers.dtype != like.dtype:
            self._numbers = torch.empty(0)  # both at once might not fit
            self._numbers = like.new_empty(size)
        return self._numbers[:size].view(shape)


class EdgeSums:
    """Every live writer's change in one table, behind a slot for the stream that is read."""

    def __init__(
        self,
        sets: Shaped[Tensor, "cell reader writer"],
        like: Float[Tensor, "batch pos d_model"],
        memory: Memory | None = None,
    ) -> None:
        """
        Args:
            sets: The edges of each cell; as numbers, the share that each carries.
            like: A stream: its shape, type and device.
            memory: Where the changes are kept, until another run takes it; fresh memory by default.
        """
        self.edges: NDArray[np.bool_] = sets.any(dim=0).cpu().numpy()
        """(reader, writer): of any cell."""
        self.live: list[int] = np.flatnonzero(self.edges.any(axis=0)).tolist()
        """Writers with an edge out of them; others are not computed."""
        self.column = {writer: column for column, writer in enumerate(self.live)}
        self._matrix = functional.pad(sets[:, :, chosen(self.live, sets.device)].to(like), (1, 0), value=1.0)
        self._shares = self._matrix.cpu().numpy()
        self._members = self._shares > 0
        self._are_whole = sets.dtype == torch.bool
        self.n_cells = len(sets)
        self._table = (memory or Memory()).take((self._table_slots, len(sets), *like.shape), like)

    @property
    def _table_slots(self) -> int:
        return 1 + len(self.live)

    @property
    def changes(self) -> Float[Tensor, "live cell batch pos d_model"]:
        """What live writers have written, live minus base."""
        return self._table[1:]

    def put(
        self,
        writer: int,
        live: Float[Tensor, "cell batch row d_model"],
        base: Float[Tensor, "batch row d_model"],
        rows: Rows | None = None,
    ) -> None:
        """Note what a live writer changes, at all positions or at some rows; 0 elsewhere."""
        own = self.changes[self.column[writer]]
        if rows is None:
            torch.sub(live, base, out=own)
        else:
            own.zero_()[:, _examples(rows), rows.index] = live - base

    def put_products(
        self,
        first: int,
        change: Float[Tensor, "writer cell batch pos d_head"],
        weight: Float[Tensor, "writer d_head d_model"],
        rows: Rows | None = None,
    ) -> None:
        """Note products of neighbouring writers, all of them live, at all positions or at some rows; 0 elsewhere."""
        own = self.changes[self.column[first] :][: len(change)]
        if rows is None:
            torch.bmm(change.flatten(1, 3), weight, out=own.flatten(1, 3))
            return
        there = slice(None), slice(None), _examples(rows), rows.index
        own.zero_()[there] = torch.bmm(change[there].flatten(1, 3), weight).view(*own.shape[:3], -1, own.shape[-1])

    def before(self, writers: int) -> int:
        """How many of the first writers are live."""
        return int(np.searchsorted(self.live, writers))

    def distinct(self, readers: list[int]) -> tuple[list[int], list[int]]:
        """Readers without those that read the same as one before them, and at which of these places each one reads."""
        found: dict[bytes, int] = {}
        places = [found.setdefault(self._shares[:, reader].tobytes(), len(found)) for reader in readers]
        return [readers[places.index(place)] for place in range(len(found))], places

    def read(
        self, readers: list[int], writers: int, stream: Float[Tensor, "batch pos d_model"], rows: Rows | None = None
    ) -> Read:
        """The inputs of readers of one point of the stream, at all positions or at some rows.

        Args:
            writers: How many writers come before that point.
        """
        n_slots = 1 + self.before(writers)
        self._table[0] = stream
        members = self._members[:, readers, :n_slots]
        if self._are_whole and (rows is not None or len(readers) < FEW or members.mean() < DENSE):
            return self._summed(members, rows)
        table = self._table[:n_slots]
        if rows is not None:
            table = table[:, :, _examples(rows), rows.index]
        found: Tensor = self._matrix[:, chosen(readers, table.device), :n_slots] @ table.flatten(2).transpose(0, 1)
        return found.view(*found.shape[:2], *table.shape[2:])

    def _summed(self, members: NDArray[np.bool_], rows: Rows | None) -> Read:
        """Row by row, so that memory is read once for all readers."""
        n_cells, n_examples, n_pos, width = self._table.shape[1:]
        own = np.broadcast_to(np.arange(n_pos), (n_examples, n_pos)) if rows is None else rows.positions
        places = (own + n_pos * np.arange(n_examples)[:, None]).reshape(-1, 1)
        indices, offsets, total = [], [], 0
        for cell, of_cell in enumerate(members):
            reader, slot = of_cell.nonzero()
            indices.append((places + n_examples * n_pos * (slot * n_cells + cell)).ravel())
            starts = np.searchsorted(reader, np.arange(len(of_cell)))
            offsets.append((total + len(reader) * np.arange(len(places))[:, None] + starts).ravel())
            total += len(indices[-1])
        at, bags = (on_device(np.concatenate(parts), self._table.device) for parts in (indices, offsets))
        sums = functional.embedding_bag(at, self._table.view(-1, width), bags, mode="sum")
        return sums.view(n_cells, *own.shape, members.shape[1], width).movedim(3, 1)


class TracedSums(EdgeSums):
    """The same with gradients: every input gets an addend of 0 of its own."""

    def __init__(self, sets: Shaped[Tensor, "cell reader writer"], like: Float[Tensor, "batch pos d_model"]) -> None:
        super().__init__(sets, like)
        self.addends: list[tuple[list[int], Tensor]] = []
        """Readers, and what was added to their inputs."""
        self._parts: list[tuple[list[int], Tensor]] = []
        """Columns, and what their writers changed, one behind the other."""
        self._latest: list[tuple[int, Tensor]] = []

    @property
    def _table_slots(self) -> int:
        return 0

    def put(
        self,
        writer: int,
        live: Float[Tensor, "cell batch row d_model"],
        base: Float[Tensor, "batch row d_model"],
        rows: Rows | None = None,
    ) -> None:
        """Note what a live writer changes, at all positions."""
        assert rows is None
        self._latest.append((self.column[writer], live - base))

    def put_products(
        self,
        first: int,
        change: Float[Tensor, "writer cell batch pos d_head"],
        weight: Float[Tensor, "writer d_head d_model"],
        rows: Rows | None = None,
    ) -> None:
        """Note products of neighbouring writers."""
        assert rows is None
        written = torch.bmm(change.flatten(1, 3), weight).view(*change.shape[:-1], -1)
        self._latest += enumerate(written, start=self.column[first])

    def distinct(self, readers: list[int]) -> tuple[list[int], list[int]]:
        """All of them: each has an addend of its own."""
        return readers, list(range(len(readers)))

    def read(
        self, readers: list[int], writers: int, stream: Float[Tensor, "batch pos d_model"], rows: Rows | None = None
    ) -> Read:
        """The inputs of readers, each with its addend."""
        assert rows is None
        self._join_latest()
        before, edges = self.before(writers), self._matrix[:, chosen(readers, stream.device), 1:]
        shape = len(self._matrix), len(readers), *stream.shape
        addend = stream.new_zeros(shape).requires_grad_()
        self.addends.append((readers, addend))
        total = stream + addend
        for columns, changes in self._parts:
            if columns[-1] < before and self.edges[np.ix_(readers, [self.live[column] for column in columns])].any():
                total = total + (edges[:, :, chosen(columns, stream.device)] @ changes.flatten(2)).view(shape)
        return total

    def _join_latest(self) -> None:
        """Writers that wrote since the last reading are read together from now on."""
        if self._latest:
            columns, changes = zip(*self._latest, strict=True)
            self._parts.append((list(columns), torch.stack(changes, dim=1)))
            self._latest = []


def _examples(rows: Rows) -> Tensor:
    return torch.arange(len(rows.index), device=rows.index.device)[:, None]
