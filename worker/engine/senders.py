"""What senders write, and how it reaches each receiver's input: the first half of path patching."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from planning.graph import EMBEDDING_TIME, Site, is_mlp, layer_at
from planning.plan import CellGroup
from planning.positions import Mask
from worker.engine import transformer
from worker.engine.rows import Rows
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


@dataclass(frozen=True, eq=False)
class Changes:
    """The change of a receiver's residual-stream input, for the cells that have begun to differ from orig."""

    value: Float[Tensor, "batch cell row d_model"]
    touched: Bool[Tensor, "batch cell row"]
    """Rows that some sender has changed; elsewhere the receiver keeps orig, bit for bit."""


def writes_of(senders: CellGroup) -> dict[int, list[Write]]:
    """The senders by time; two heads of one layer in one cell go into different writes, in the spec's order."""
    grouped: dict[tuple[object, ...], list[tuple[int, Site, Mask]]] = defaultdict(list)
    for cell, sites in enumerate(senders.sites):
        taken: Counter[tuple[object, ...]] = Counter()
        for site, mask in zip(sites, senders.masks, strict=True):
            kind = (senders.graph.time_of(site), site.hook, site.unit is None, id(mask))
            grouped[(*kind, taken[kind])].append((cell, site, mask))
            taken[kind] += 1
    writes: dict[int, list[Write]] = defaultdict(list)
    for members in grouped.values():
        cells = [cell for cell, _, _ in members]
        units = [site.unit for _, site, _ in members if site.unit is not None]
        _, site, mask = members[0]
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
    chosen = dz[:, :, distinct].permute(2, 0, 1, 3).flatten(1, 2)
    written = torch.bmm(chosen, W_O[distinct]).view(len(distinct), *dz.shape[:2], -1).transpose(0, 1)
    order = [distinct.index(head) for head in heads]
    differs = differs[:, :, heads].transpose(1, 2)
    return (written if order == list(range(len(order))) else written[:, order]), differs


def neurons_change(
    runs: Runs, layer: int, neurons: list[int] | None, rows: Rows
) -> tuple[Float[Tensor, "batch cell row d_model"], Bool[Tensor, "batch cell row"]]:
    """``(post_source - post_orig) W_out`` of each neuron, or of all together, and where it is not exactly zero."""
    W_out = runs.weights.W_out[layer]
    dpost = rows.take(runs.source_value("post", layer)) - rows.take(runs.orig("post", layer))
    if neurons is None:
        return (dpost @ W_out)[:, None], (dpost != 0).any(dim=-1)[:, None]
    chosen = dpost[:, :, neurons].transpose(1, 2)  # (batch, cell, row)
    return chosen[..., None] * W_out[neurons][:, None, :], chosen != 0


def written_change(
    runs: Runs, write: Write, rows: Rows
) -> tuple[Float[Tensor, "batch cell row d_model"], Bool[Tensor, "batch cell row"]]:
    """The change of what senders write to the residual stream, zero outside their positions.

    ``attn_out`` and ``mlp_out`` include their bias. Senders of one cell must not include one another, as a residual
    point includes all that was written before it: their changes add up (``planning.graph.overlaps`` finds such).
    """
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
    shape = (runs.n_examples, len(senders.cells), rows.n_rows, weights.d_model)
    change = torch.zeros(shape, dtype=weights.dtype, device=weights.device)
    touched = torch.zeros(shape[:3], dtype=torch.bool, device=weights.device)
    for time in range(EMBEDDING_TIME, times[-1] + 1):
        begun = sum(first < time for first in senders.first_times)
        if time in times:
            yield time, Changes(change[:, :begun], touched[:, :begun])
        if time == times[-1]:
            return
        if through_mlps and is_mlp(time) and (begun or time in writes):
            _through_mlp(runs, writes[time], layer_at(time), rows, change, touched, begun)
            continue
        for write in writes[time]:
            written, differs = written_change(runs, write, rows)
            _add(change, touched, write.cells, written, differs)


def _add(
    change: Float[Tensor, "batch cell row d_model"],
    touched: Bool[Tensor, "batch cell row"],
    cells: list[int],
    written: Float[Tensor, "batch some row d_model"],
    differs: Bool[Tensor, "batch some row"],
) -> None:
    """Add to the given cells, in place; neighbouring cells are a slice."""
    run = range(cells[0], cells[0] + len(cells))
    chosen = slice(run.start, run.stop) if cells == list(run) else cells
    change[:, chosen] += written
    touched[:, chosen] |= differs


def _through_mlp(
    runs: Runs,
    writes: list[Write],
    layer: int,
    rows: Rows,
    change: Float[Tensor, "batch cell row d_model"],
    touched: Bool[Tensor, "batch cell row"],
    begun: int,
) -> None:
    """Carry the change past a live MLP, in place; senders in it overwrite its neurons or its output."""
    resid_mid = rows.take(runs.orig("resid_mid", layer))[:, None]  # (batch, 1, row, d_model)
    before = [change[:, write.cells] for write in writes]
    if begun:
        live = resid_mid + change[:, :begun]
        live += transformer.mlp(runs.weights, layer, live)
        change[:, :begun] = live.sub_(rows.take(runs.orig("resid_pre", layer + 1))[:, None])
    for write, mid_change in zip(writes, before, strict=True):
        written, differs = written_change(runs, write, rows)
        if write.units is None:
            at_rows = rows.at_rows(write.mask)[:, None, :, None]
            change[:, write.cells] = torch.where(at_rows, mid_change + written, change[:, write.cells])
        else:
            change[:, write.cells] += _overwritten_neurons(runs, write, layer, rows, resid_mid + mid_change)
        touched[:, write.cells] |= differs


def _overwritten_neurons(
    runs: Runs, write: Write, layer: int, rows: Rows, resid_mid: Float[Tensor, "batch cell row d_model"]
) -> Float[Tensor, "batch cell row d_model"]:
    """How the output of a live MLP changes when one neuron per cell is set to its source value."""
    assert write.units is not None
    weights = runs.weights
    W_in = weights.W_in[layer][:, write.units]
    normed = transformer.mlp_input(weights, layer, resid_mid)
    pre = torch.einsum("bcrm,mc->bcr", normed, W_in) + weights.b_in[layer][write.units][:, None]
    source = rows.take(runs.source_value("post", layer))[:, :, write.units].transpose(1, 2)
    change = (source - transformer.activation(pre)) * rows.at_rows(write.mask)[:, None]
    return change[..., None] * weights.W_out[layer][write.units][:, None, :]
