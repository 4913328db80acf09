"""First-order estimates of every cell: the gradient of the metric at orig, dotted with what the senders change.

``estimate = orig + gradient . d``: the sign is the exact effect's; LayerNorm, softmax and MLPs are linearised at orig.
The gradient with respect to each receiver's input comes from one backward pass for many receivers; it is then carried
back along the residual stream (through the frozen run's MLPs, where the algorithm includes them) to the senders.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from planning.graph import Site, is_mlp_read, mlp_at
from planning.plan import CellGroup, Ends, ReceiverGroup
from planning.prompts import AttentionReading, Reading, deepest_layer
from worker.engine import transformer
from worker.engine.rows import Rows, on_device, rows_of
from worker.engine.run_layer import Patches
from worker.engine.runs import Runs
from worker.engine.senders import Changes, StreamChange, Write, stream_changes, writes_of
from worker.engine.sweep import Batch, Values, changed_input, run_and_read

Gradient = Float[Tensor, "batch row d_model"]


@dataclass(frozen=True, eq=False)
class ReceiverInput:
    """One receiver's residual-stream input, and the gradient of a metric with respect to it."""

    cell: int
    """Which of the receiver cells that are worked on together."""
    site: Site
    gradient: Gradient


def estimate_paths(batch: Batch, ends: Ends, through_mlps: bool, overwrite: bool) -> list[Values]:
    """Every metric in every cell, to first order; a cell that no change reaches equals orig."""
    rows = rows_of(ends.real, batch.runs.device)
    values = [orig.repeat(1, ends.n_senders, 1) for orig in batch.reads.orig_values]
    for metric, value in enumerate(values):
        for receivers in _shared_backward(batch, ends, batch.reads.readings[metric], rows):
            inputs = _receiver_gradients(batch, metric, receivers, rows, overwrite and ends.n_receivers == 1)
            _carry_back(batch, ends, receivers, inputs, rows, through_mlps, value)
    return values


def _shared_backward(batch: Batch, ends: Ends, reading: Reading, rows: Rows) -> Iterator[CellGroup]:
    """Receivers that share one backward pass: as many as fit, unless each has its own metric or they share a head."""
    if ends.n_receivers == 1:
        yield ends.receivers[0][0]
        return
    size = batch.cells_at_once(rows)
    for groups in ends.receivers:
        apart = _is_of_cell(reading) or any(group.sites[0][0].hook == "pattern" for group in groups)
        for group in groups if apart else [_joined(groups)]:
            for start in range(0, len(group.cells), size):
                yield group.part(start, start + size)


def _is_of_cell(reading: Reading) -> bool:
    """Whether each receiver cell has a metric of its own."""
    return isinstance(reading, AttentionReading) and reading.head is None


def _joined(groups: Sequence[CellGroup]) -> CellGroup:
    cells = [cell for group in groups for cell in group.cells]
    sites = [own for group in groups for own in group.sites]
    first_times = [time for group in groups for time in group.first_times]
    return CellGroup(cells, sites, groups[0].masks, first_times, groups[0].graph)


def _receiver_gradients(
    batch: Batch, metric: int, receivers: CellGroup, rows: Rows, overwrite: bool
) -> list[ReceiverInput]:
    """The gradient of a metric at orig with respect to each receiver's input."""
    runs, alone = batch.runs, replace(batch, reads=batch.reads.only(metric))
    zero = torch.zeros(
        runs.n_examples,
        1,
        rows.n_rows,
        runs.weights.architecture.d_model,
        dtype=runs.weights.dtype,
        device=batch.runs.device,
    )
    everywhere = torch.ones(zero.shape[:3], dtype=torch.bool, device=batch.runs.device)
    members = [
        (cell, site, mask)
        for cell, sites in enumerate(receivers.sites)
        for site, mask in zip(sites, receivers.masks, strict=True)
    ]
    with torch.enable_grad():
        inputs = [zero.clone().requires_grad_() for _ in members]
        patches: Patches = [
            changed_input(site, mask, Changes(own, everywhere), rows, overwrite)
            for (_, site, mask), own in zip(members, inputs, strict=True)
        ]
        is_split = _is_of_cell(alone.reads.readings[0]) and len(receivers.cells) > 1
        by_cell = [[patch] for patch in patches] if is_split else [patches]
        found = run_and_read(alone, _run_group(alone, by_cell), by_cell, rows, [0])
        total = zero.sum() + sum(one.value.sum() for one in found)
        total = total + sum(own.sum() for own in inputs) * 0  # autograd.grad raises on unused inputs
        gradients = torch.autograd.grad(total, inputs)
    return [
        ReceiverInput(cell, site, gradient[:, 0]) for (cell, site, _), gradient in zip(members, gradients, strict=True)
    ]


def _run_group(batch: Batch, by_cell: list[Patches]) -> ReceiverGroup:
    """The receivers as cells of a final run on all rows."""
    sites = [[patch.site for patch in patches] for patches in by_cell]
    last_layer = deepest_layer(batch.reads.readings, sites, batch.runs.weights.architecture.n_layers)
    graph, nowhere = batch.runs.graph, np.zeros((0, 0), dtype=bool)
    first_times = [min(map(graph.time_of, own)) for own in sites]
    times = sorted({graph.time_of(site) for site in sites[0]})
    cells = list(range(len(sites)))
    return ReceiverGroup(cells, sites, [], first_times, graph, nowhere, times, nowhere, last_layer, own_heads=None)


def _carry_back(
    batch: Batch,
    ends: Ends,
    receivers: CellGroup,
    inputs: list[ReceiverInput],
    rows: Rows,
    through_mlps: bool,
    values: Values,
) -> None:
    """From the last receiver back to the first sender, adding each sender's share to ``values`` in place."""
    runs, time_of = batch.runs, batch.runs.graph.time_of
    shape = (runs.n_examples, len(receivers.cells), rows.n_rows, runs.weights.architecture.d_model)
    carried = torch.zeros(shape, dtype=runs.weights.dtype, device=batch.runs.device)
    writes = [(group, writes_of(group)) for group in ends.senders]
    earliest = min(time for group in ends.senders for time in group.first_times)
    is_parallel = runs.weights.architecture.is_parallel
    past_mlp = torch.zeros_like(carried)  # at what a parallel block's MLP reads, before the heads of its layer write
    for time in range(max(time_of(one.site) for one in inputs), earliest - 1, -1):
        if is_parallel and is_mlp_read(time):
            carried, past_mlp = carried + past_mlp, torch.zeros_like(carried)
        for group, own_writes in writes:
            for written in stream_changes(runs, _parts(own_writes.get(time, []), batch.cells_at_once(rows)), rows):
                _add_share(group, written, carried, receivers.cells, values)
        if through_mlps and (layer := mlp_at(time)) is not None:
            overwriting = [write for _, own in writes for write in own.get(time, []) if len(ends.senders[0].cells) == 1]
            passed = _through_mlp(runs, layer, rows, overwriting, carried)
            carried, past_mlp = (carried, passed) if is_parallel else (carried + passed, past_mlp)
        for one in inputs:
            if time_of(one.site) == time:
                carried[:, one.cell] += one.gradient


def _add_share(
    senders: CellGroup,
    written: StreamChange,
    carried: Float[Tensor, "batch receiver row d_model"],
    receiver_cells: list[int],
    values: Values,
) -> None:
    """Add what some senders' changes contribute, to first order."""
    share = written.value.flatten(2) @ carried.flatten(2).transpose(1, 2)  # (batch, cell, receiver)
    sender_cells = on_device([senders.cells[cell] for cell in written.cells], values.device)
    columns = on_device(receiver_cells, values.device)
    values[:, sender_cells[:, None], columns[None]] += share.expand(-1, len(written.cells), -1).to(values.dtype)


def _parts(writes: Sequence[Write], size: int) -> Iterator[Write]:
    """Writes of few cells at a time."""
    for write in writes:
        if write.units is None:
            yield write
            continue
        for start in range(0, len(write.cells), size):
            stop = start + size
            yield replace(write, cells=write.cells[start:stop], units=write.units[start:stop])


def _through_mlp(
    runs: Runs,
    layer: int,
    rows: Rows,
    overwriting: Sequence[Write],
    carried: Float[Tensor, "batch receiver row d_model"],
) -> Float[Tensor, "batch receiver row d_model"]:
    """A gradient at an MLP's output as one at its input; what the cell's own senders overwrite passes nothing on."""

    def freeze(hook: str, value: Tensor) -> Tensor:
        if hook != "post":
            return value
        for write in overwriting:
            frozen = torch.zeros(value.shape[-1], dtype=torch.bool, device=value.device)
            frozen[write.units if write.units is not None else slice(None)] = True
            at_rows = rows.at_rows(write.mask)[:, None, :, None]
            value = torch.where(at_rows & frozen, value.detach(), value)
        return value

    with torch.enable_grad():
        orig = rows.take(runs.orig(*runs.graph.input_of(Site("pre", layer))))
        mlp_input = orig[:, None].expand(carried.shape).detach().requires_grad_()
        mlp_out = transformer.mlp(runs.weights, layer, mlp_input, freeze)
        (passed,) = torch.autograd.grad(mlp_out, mlp_input, carried)
    return passed
