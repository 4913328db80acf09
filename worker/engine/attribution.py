"""First-order estimates of every cell: the gradient of the metric at orig, dotted with what the senders change.

``estimate = orig + gradient . d``: the sign is the exact effect's; LayerNorm, softmax and MLPs are linearised at orig.
The gradient with respect to each receiver's input comes from one backward pass for many receivers; it is then carried
back along the residual stream (through the frozen run's MLPs, where the algorithm includes them) to the senders.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from api_schemas.nodes import Node
from worker.engine import forward
from worker.engine.final_runs import final_runs
from worker.engine.patching import Patching, replacement
from worker.engine.plan import Cell, CellGroup, depends_on_cell, receiver_groups, sender_groups
from worker.engine.positions import Rows, real_tokens, rows_of
from worker.engine.runs import Runs
from worker.engine.senders import MLP_STAGE, STAGES_PER_LAYER, Changes, Write, first_time, writes_of, written_change

Gradient = Float[Tensor, "batch row d_model"]


@dataclass(frozen=True, eq=False)
class Receivers:
    """Receiver cells whose gradients come from one backward pass, and the nodes that stand for each."""

    places: list[int]
    cells: list[Cell]


def estimated_metrics(patching: Patching) -> list[Float[Tensor, "batch sender_cell receiver_cell"]]:
    """Every metric in every cell, to first order; a cell that no change reaches equals orig."""
    assert patching.grid.receivers is not None
    rows = rows_of(real_tokens(patching.where.dataset), patching.device)
    n_senders = len(patching.grid.senders.cells)
    values = [orig.repeat(1, n_senders, 1) for orig in patching.reads.orig_values]
    for place, value in enumerate(values):
        for receivers in _jobs(patching, place, rows):
            carried = _receiver_gradients(patching, place, receivers, rows)
            _carry_back(patching, receivers, carried, rows, value)
    return values


def _jobs(patching: Patching, place: int, rows: Rows) -> Iterator[Receivers]:
    """Receivers that share one backward pass: as many as fit, unless each has its own metric or they share a head."""
    assert patching.grid.receivers is not None
    cells = patching.grid.receivers.cells
    if len(cells) == 1:
        yield Receivers([0], cells)
        return
    size = patching.cells_at_once(rows)
    for groups in receiver_groups(cells):
        apart = depends_on_cell(patching.where.metrics[place]) or any(
            group.cells[0][0].hook == "pattern" for group in groups
        )
        together = groups if apart else [_joined(groups)]
        for group in together:
            for start in range(0, len(group.cells), size):
                part = group.part(start, start + size)
                yield Receivers(part.places, part.cells)


def _joined(groups: Sequence[CellGroup]) -> CellGroup:
    places = [place for group in groups for place in group.places]
    return CellGroup(places, [cell for group in groups for cell in group.cells])


def _receiver_gradients(
    patching: Patching, place: int, receivers: Receivers, rows: Rows
) -> list[list[tuple[Node, Gradient]]]:
    """Per cell, the gradient of a metric at orig with respect to each receiver's residual-stream input."""
    runs, where = patching.runs, patching.where
    zero = torch.zeros(
        runs.n_examples, 1, rows.n_rows, runs.weights.d_model, dtype=runs.weights.dtype, device=patching.device
    )
    everywhere = torch.ones(zero.shape[:3], dtype=torch.bool, device=patching.device)
    nodes = [node for cell in receivers.cells for node in cell]
    metric = where.metrics[place]
    alone = replace(
        patching,
        where=replace(where, metrics=[metric]),
        reads=patching.reads.only(place),
        overwrite=patching.overwrite and len(receivers.cells) == 1,
    )
    with torch.enable_grad():
        inputs = [zero.clone().requires_grad_() for _ in nodes]
        patches = [
            replacement(alone, node, rows, Changes(own, everywhere)) for node, own in zip(nodes, inputs, strict=True)
        ]
        own_metrics = depends_on_cell(metric) and len(receivers.cells) > 1
        cells = [[node] for node in nodes] if own_metrics else [nodes]
        split = [[patch] for patch in patches] if own_metrics else [patches]
        total = zero.sum()
        for _, value, _ in final_runs(alone, CellGroup(list(range(len(cells))), cells), split, rows, 1):
            total = total + value.sum()
        total = total + sum(own.sum() for own in inputs) * 0  # no path may lead from any input to the metric
        found = torch.autograd.grad(total, inputs)
    gradients = iter(gradient[:, 0] for gradient in found)
    return [[(node, next(gradients)) for node in cell] for cell in receivers.cells]


def _carry_back(
    patching: Patching,
    receivers: Receivers,
    gradients: list[list[tuple[Node, Gradient]]],
    rows: Rows,
    values: Float[Tensor, "batch sender_cell receiver_cell"],
) -> None:
    """From the last receiver back to the first sender, adding each sender's share to ``values`` in place."""
    runs, weights = patching.runs, patching.runs.weights
    shape = (runs.n_examples, len(receivers.cells), rows.n_rows, weights.d_model)
    carried = torch.zeros(shape, dtype=weights.dtype, device=patching.device)
    groups = sender_groups(patching.grid.senders.cells)
    writes = [writes_of(group.cells, patching.where.of) for group in groups]
    earliest = min(first_time(group.cells[0]) for group in groups)
    columns = torch.tensor(receivers.places, device=patching.device)
    last = max(node.time for cell in receivers.cells for node in cell)
    for time in range(last, earliest - 1, -1):
        for group, own_writes in zip(groups, writes, strict=True):
            for write in own_writes.get(time, []):
                for part in _parts(write, patching.cells_at_once(rows)):
                    change, _ = written_change(runs, part, rows)
                    share = change.flatten(2) @ carried.flatten(2).transpose(1, 2)  # (batch, cell, receiver)
                    places = torch.tensor([group.places[cell] for cell in part.cells], device=patching.device)
                    share = share.expand(-1, len(part.cells), -1).to(values.dtype)
                    values[:, places[:, None], columns[None]] += share
        if patching.through_mlps and time >= 0 and time % STAGES_PER_LAYER == MLP_STAGE:
            live = [write for own_writes in writes for write in own_writes.get(time, []) if len(groups[0].cells) == 1]
            carried = carried + _through_mlp(runs, time // STAGES_PER_LAYER, rows, live, carried)
        for cell, own in enumerate(gradients):
            for node, gradient in own:
                if node.time == time:
                    carried[:, cell] += gradient


def _parts(write: Write, size: int) -> Iterator[Write]:
    """A write of few cells at a time."""
    if write.indices is None:
        yield write
        return
    for start in range(0, len(write.cells), size):
        stop = start + size
        yield replace(write, cells=write.cells[start:stop], indices=write.indices[start:stop])


def _through_mlp(
    runs: Runs,
    layer: int,
    rows: Rows,
    overwriting: Sequence[Write],
    carried: Float[Tensor, "batch receiver row d_model"],
) -> Float[Tensor, "batch receiver row d_model"]:
    """A gradient at an MLP's output as one at its input; what the cell's own senders overwrite passes nothing on."""
    with torch.enable_grad():
        resid_mid = rows.take(runs.orig("resid_mid", layer))[:, None].expand(carried.shape).detach().requires_grad_()
        post = forward.activation(forward.mlp_pre(runs.weights, layer, resid_mid))
        for write in overwriting:
            frozen = torch.zeros(post.shape[-1], dtype=torch.bool, device=post.device)
            frozen[write.indices if write.indices is not None else slice(None)] = True
            at_rows = rows.at_rows(write.mask)[:, None, :, None]
            post = torch.where(at_rows & frozen, post.detach(), post)
        mlp_out = forward.neurons_output(runs.weights, layer, post)
        (passed,) = torch.autograd.grad(mlp_out, resid_mid, carried)
    return passed
