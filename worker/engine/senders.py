"""What senders write, and how it reaches each receiver's input: the first half of path patching."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planning.graph import EMBEDDING_TIME, Site, is_mlp_read, mlp_at
from planning.plan import CellGroup
from planning.prompts import Mask
from worker.engine import model, transformer
from worker.engine.rows import Rows, chosen
from worker.engine.runs import Runs


@dataclass(frozen=True, eq=False)
class Write:
    """Senders of one hook and layer, at most one per cell."""

    hook: str
    layer: int | None
    cells: list[int]
    units: list[int] | None
    """Head or neuron of each cell; None: all of the layer, the same for every cell."""
    mask: Mask
    live: tuple[Tensor, Tensor] | None = None
    """The change (batch, cell, row, d_model) and where it is not zero, if other changes made it; else source - orig."""


@dataclass(frozen=True, eq=False)
class Changes:
    """The change of a receiver's residual-stream input, for the cells that have begun to differ from orig."""

    value: Float[Tensor, "batch cell row d_model"]
    touched: Bool[Tensor, "batch cell row"]
    """Rows that some sender has changed; elsewhere the receiver keeps orig, bit for bit."""


def writes_of(senders: CellGroup) -> dict[int, list[Write]]:
    """The senders by time; two heads of one layer in one cell go into different writes, in the spec's order."""
    grouped: dict[tuple[object, ...], list[tuple[int, int | None, Site, Mask]]] = defaultdict(list)
    for cell, sites in enumerate(senders.sites):
        taken: Counter[tuple[object, ...]] = Counter()
        for site, mask in zip(sites, senders.masks, strict=True):
            unit = site.head if site.hook == "z" else site.neuron
            kind = (senders.graph.time_of(site), site.hook, unit is None, id(mask))
            grouped[(*kind, taken[kind])].append((cell, unit, site, mask))
            taken[kind] += 1
    writes: dict[int, list[Write]] = defaultdict(list)
    for members in grouped.values():
        cells = [cell for cell, *_ in members]
        units = [unit for _, unit, *_ in members if unit is not None]
        *_, site, mask = members[0]
        writes[senders.graph.time_of(site)].append(Write(site.hook, site.layer, cells, units or None, mask))
    return writes


def heads_change(
    runs: Runs, layer: int, heads: list[int] | None, rows: Rows
) -> tuple[Float[Tensor, "batch cell row d_model"], Bool[Tensor, "batch cell row"]]:
    """``(z_source - z_orig) W_O`` of each head, or of all heads together, and where it is not exactly zero."""
    W_O = runs.weights.W_O[layer]
    dz = rows.take(runs.source_value("z", layer)) - rows.take(runs.orig("z", layer))  # (batch, row, head, d_head)
    differs = (dz != 0).any(dim=-1)
    if heads is None:
        return (dz.flatten(2) @ W_O.flatten(end_dim=1))[:, None], differs.any(dim=-1)[:, None]
    distinct = sorted(set(heads))
    once = chosen(distinct, dz.device)
    own = dz[:, :, once].permute(2, 0, 1, 3).flatten(1, 2)
    written = torch.bmm(own, W_O[once]).view(len(distinct), *dz.shape[:2], -1).transpose(0, 1)
    order = [distinct.index(head) for head in heads]
    return written[:, chosen(order, dz.device)], differs[:, :, chosen(heads, dz.device)].transpose(1, 2)


def neurons_change(
    runs: Runs, layer: int, neurons: list[int] | None, rows: Rows
) -> tuple[Float[Tensor, "batch cell row d_model"], Bool[Tensor, "batch cell row"]]:
    """``(post_source - post_orig) W_out`` of each neuron, or of all together, and where it is not exactly zero."""
    W_out = runs.weights.W_out[layer]
    dpost = rows.take(runs.source_value("post", layer)) - rows.take(runs.orig("post", layer))
    if neurons is None:
        return (dpost @ W_out)[:, None], (dpost != 0).any(dim=-1)[:, None]
    own = chosen(neurons, dpost.device)
    dpost = dpost[:, :, own].transpose(1, 2)  # (batch, cell, row)
    return dpost[..., None] * W_out[own][:, None, :], dpost != 0


def written_change(
    runs: Runs, write: Write, rows: Rows
) -> tuple[Float[Tensor, "batch cell row d_model"], Bool[Tensor, "batch cell row"]]:
    """The change of what senders write, before a norm after their layer; zero outside their positions.

    ``attn_out`` and ``mlp_out`` include their bias. Senders of one cell must not include one another, as a residual
    point includes all that was written before it: their changes add up (``planning.graph.overlaps`` finds such).
    """
    if write.live is not None:
        return write.live
    if write.hook == "z":
        assert write.layer is not None
        change, differs = heads_change(runs, write.layer, write.units, rows)
    elif write.hook == "post":
        assert write.layer is not None
        change, differs = neurons_change(runs, write.layer, write.units, rows)
    else:
        source, orig = runs.source_value(write.hook, write.layer), runs.orig(write.hook, write.layer)
        change = (rows.take(source) - rows.take(orig))[:, None]
        differs = (change != 0).any(dim=-1)
    if not (write.mask | ~rows.mask).all():
        at_rows = rows.at_rows(write.mask)[:, None]
        change, differs = change * at_rows[..., None], differs & at_rows
    return change, differs & rows.valid[:, None]


@dataclass(frozen=True, eq=False)
class StreamChange:
    """What some senders change in the residual stream where they write."""

    cells: list[int]
    at: slice | Int[Tensor, " cell"]
    """The same cells, to index by: neighbours are a slice."""
    value: Float[Tensor, "batch any_cell row d_model"]
    """One cell wide if all change alike."""
    differs: Bool[Tensor, "batch any_cell row"]


def stream_changes(runs: Runs, writes: Iterable[Write], rows: Rows) -> Iterator[StreamChange]:
    """What the senders of one time change in the stream, write by write.

    Where a norm follows the layer, what it normalises in one cell is summed first.
    """
    groups = [[write] for write in writes]
    summed = [write for (write,) in groups if write.hook in transformer.NORM_AFTER]
    cells = sorted({cell for write in summed for cell in write.cells})
    has_norm = runs.weights.architecture.has_post_norms
    if has_norm and len(cells) < sum(len(write.cells) for write in summed):
        groups = [summed, *(group for group in groups if group[0] not in summed)]
    for group in groups:
        changes = [written_change(runs, write, rows) for write in group]
        own_cells, (value, differs) = group[0].cells, changes[0]
        if len(group) > 1:
            own_cells, shape = cells, (len(value), len(cells), *value.shape[2:])
            value, differs = value.new_zeros(shape), differs.new_zeros(shape[:3])
            for write, (own, own_differs) in zip(group, changes, strict=True):
                slots = chosen([cells.index(cell) for cell in write.cells], value.device)
                value[:, slots] += own
                differs[:, slots] |= own_differs
        if has_norm and group[0].hook in transformer.NORM_AFTER:
            value = _normed(runs, group[0], value, rows)
        yield StreamChange(own_cells, chosen(own_cells, value.device), value, differs)


def _normed(
    runs: Runs, write: Write, change: Float[Tensor, "batch cell row d_model"], rows: Rows
) -> Float[Tensor, "batch cell row d_model"]:
    """A change before the norm of what a layer writes as one after it: ``N(orig + change) - N(orig)``."""
    assert write.layer is not None
    norm = partial(transformer.norm, runs.weights, transformer.NORM_AFTER[write.hook], write.layer)
    value = rows.take(runs.orig(write.hook, write.layer))
    orig = model.written(runs.weights, write.hook, write.layer, value)[:, None]
    return norm(orig + change) - norm(orig)


def input_changes(
    runs: Runs, senders: CellGroup, rows: Rows, times: Sequence[int], through_mlps: bool
) -> Iterator[tuple[int, Changes]]:
    """The change of the residual stream at each receiver time, for the cells that have begun to differ by then.

    Skip-only: the sum of the changes that senders wrote strictly before. Through MLPs (Wang et al. 2022, appendix B):
    every head frozen to orig, senders at their source value, MLPs recomputed; positions do not mix.

    Args:
        senders: In the order in which their cells begin to differ from orig.
        times: Receiver times, ascending. What is yielded is overwritten by what follows.
    """
    weights, writes = runs.weights, writes_of(senders)
    shape = (runs.n_examples, len(senders.cells), rows.n_rows, weights.architecture.d_model)
    change = weights.W_E.new_zeros(shape)
    touched = torch.zeros(shape[:3], dtype=torch.bool, device=runs.device)
    mlp_change, mlp_begun = change, 0  # what the next MLP reads, and in how many cells that has begun to differ
    for time in range(EMBEDDING_TIME, times[-1] + 1):
        begun = sum(first < time for first in senders.first_times)
        if time in times:
            yield time, Changes(change[:, :begun], touched[:, :begun])
        if time == times[-1]:
            return
        if through_mlps and weights.architecture.is_parallel and is_mlp_read(time):
            mlp_change, mlp_begun = change.clone(), begun  # before the heads of its layer write
        elif through_mlps and not weights.architecture.is_parallel:
            mlp_begun = begun
        if through_mlps and (layer := mlp_at(time)) is not None and (mlp_begun or time in writes):
            chain = _MlpChain(runs, layer, rows, change, mlp_change, touched)
            chain.carry(writes[time], mlp_begun)
            continue
        for written in stream_changes(runs, writes[time], rows):
            change[:, written.at] += written.value
            touched[:, written.at] |= written.differs


@dataclass(frozen=True, eq=False)
class _MlpChain:
    """Carries changes past the live MLP of a layer, in place; senders in it overwrite its neurons or its output."""

    runs: Runs
    layer: int
    rows: Rows
    change: Float[Tensor, "batch cell row d_model"]
    """Of the stream to which the MLP writes."""
    mlp_change: Float[Tensor, "batch cell row d_model"]
    """Of the stream that the MLP reads: in a sequential block the same."""
    touched: Bool[Tensor, "batch cell row"]

    def carry(self, writes: list[Write], n_cells: int) -> None:
        """Past the MLP.

        Args:
            n_cells: Cells in which what the MLP reads has begun to differ from orig.
        """
        weights, take, orig = self.runs.weights, self.rows.take, self.runs.orig
        mlp_input = take(orig(*self.runs.graph.input_of(Site("pre", self.layer))))[:, None]  # (batch, 1, row, d_model)
        cells = [chosen(write.cells, mlp_input.device) for write in writes]
        before = [(self.change[:, own].clone(), self.mlp_change[:, own].clone()) for own in cells]
        if n_cells:
            live = mlp_input + self.mlp_change[:, :n_cells]
            beside = self.rows.side_by_side(n_cells)
            written = beside.unpack(transformer.mlp(weights, self.layer, beside.pack(live)))
            if weights.architecture.is_parallel:
                self.change[:, :n_cells] += written - take(orig("mlp_out", self.layer))[:, None]
            else:
                after = live.add_(written).sub_(take(orig("resid_pre", self.layer + 1))[:, None])
                self.change[:, :n_cells] = after
        units = [(write, mlp) for write, (_, mlp) in zip(writes, before, strict=True) if write.units is not None]
        for write, (stream, _) in zip(writes, before, strict=True):
            (own,) = stream_changes(self.runs, [write], self.rows)
            if write.units is None:
                at_rows = self.rows.at_rows(write.mask)[:, None, :, None]
                self.change[:, own.at] = torch.where(at_rows, stream + own.value, self.change[:, own.at])
            self.touched[:, own.at] |= own.differs
        if weights.architecture.has_post_norms and units:
            self._overwrite_neurons_together(units, mlp_input)
            return
        for write, mlp_change in units:
            overwritten = self._overwritten_neurons(write, mlp_input + mlp_change)
            self.change[:, chosen(write.cells, overwritten.device)] += overwritten

    def _overwritten_neurons(
        self, write: Write, mlp_input: Float[Tensor, "batch cell row d_model"]
    ) -> Float[Tensor, "batch cell row d_model"]:
        """How the output of a live MLP changes when one neuron per cell is set to its source value."""
        assert write.units is not None
        weights, layer, units = self.runs.weights, self.layer, chosen(write.units, mlp_input.device)
        live = transformer.neuron_of_each_cell(weights, layer, mlp_input, units)
        source = self.rows.take(self.runs.source_value("post", layer))[:, :, units].transpose(1, 2)
        change = (source - live) * self.rows.at_rows(write.mask)[:, None]
        return change[..., None] * weights.W_out[layer][units][:, None, :]

    def _overwrite_neurons_together(
        self, writes: Sequence[tuple[Write, Tensor]], mlp_input: Float[Tensor, "batch one row d_model"]
    ) -> None:
        """The same where a norm follows: the neurons of one cell are set together."""
        weights, layer = self.runs.weights, self.layer
        cells = sorted({cell for write, _ in writes for cell in write.cells})
        read = mlp_input.expand(-1, len(cells), -1, -1).clone()
        for write, mlp_change in writes:
            read[:, chosen([cells.index(cell) for cell in write.cells], read.device)] = mlp_input + mlp_change
        live = transformer.neurons(weights, layer, read)
        post = live.clone()
        source = self.rows.take(self.runs.source_value("post", layer))
        for write, _ in writes:
            at_rows = self.rows.at_rows(write.mask)
            for cell, unit in zip(write.cells, write.units or [], strict=True):
                slot = cells.index(cell)
                post[:, slot, :, unit] = torch.where(at_rows, source[:, :, unit], post[:, slot, :, unit])
        with_source, without = (transformer.output(weights, "post", layer, value) for value in (post, live))
        self.change[:, chosen(cells, live.device)] += with_source - without
