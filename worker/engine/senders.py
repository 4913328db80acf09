"""What senders write, and how it reaches each receiver's input: the first half of path patching."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from api_schemas.nodes import Node
from worker.engine import forward
from worker.engine.positions import Mask, Rows
from worker.engine.runs import Runs

STAGES_PER_LAYER = 6
MLP_STAGE = 5
"""``node.time`` of ``post`` and ``mlp_out`` within a layer."""


@dataclass(frozen=True, eq=False)
class Write:
    """Senders of one hook and layer, at most one per cell."""

    hook: str
    layer: int | None
    cells: list[int]
    indices: list[int] | None
    """Head or neuron of each cell; None: all of the layer, the same for every cell."""
    mask: Mask

    def __post_init__(self) -> None:
        assert self.indices is None or len(self.indices) == len(self.cells)


@dataclass(frozen=True, eq=False)
class Changes:
    """The change of a receiver's residual-stream input, for the cells that have begun to differ from orig."""

    value: Float[Tensor, "batch cell row d_model"]
    touched: Bool[Tensor, "batch cell row"]
    """Rows that some sender has changed; elsewhere the receiver keeps orig, bit for bit."""


def writes_of(cells: Sequence[Sequence[Node]], mask_of: Callable[[Node], Mask]) -> dict[int, list[Write]]:
    """The cells' senders by time; two heads of one layer in one cell go into different writes, in the spec's order."""
    grouped: dict[tuple[object, ...], list[tuple[int, Node]]] = defaultdict(list)
    for cell, nodes in enumerate(cells):
        taken: Counter[tuple[object, ...]] = Counter()
        for node in nodes:
            kind = (node.time, node.hook, _index(node) is None, str(node.positions))
            grouped[(*kind, taken[kind])].append((cell, node))
            taken[kind] += 1
    writes: dict[int, list[Write]] = defaultdict(list)
    for members in grouped.values():
        first = members[0][1]
        indices = [_index(node) for _, node in members]
        whole = indices[0] is None
        chosen = None if whole else [index for index in indices if index is not None]
        writes[first.time].append(Write(first.hook, first.layer, [cell for cell, _ in members], chosen, mask_of(first)))
    return writes


def _index(node: Node) -> int | None:
    return node.head if node.head is not None else node.neuron


def first_time(cell: Sequence[Node]) -> int:
    """When a cell's run begins to differ from orig."""
    return min(node.time for node in cell)


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

    A residual sender replaces all that was written before it; ``attn_out`` and ``mlp_out`` include their bias.
    """
    if write.hook == "z":
        assert write.layer is not None
        change, differs = heads_change(runs, write.layer, write.indices, rows)
    elif write.hook == "post":
        assert write.layer is not None
        change, differs = neurons_change(runs, write.layer, write.indices, rows)
    else:
        source, orig = runs.source_value(write.hook, write.layer), runs.orig(write.hook, write.layer)
        change = (rows.take(source) - rows.take(orig))[:, None]
        differs = (change != 0).any(dim=-1)
    if not (write.mask | ~rows.mask).all():
        at_rows = rows.at_rows(write.mask)[:, None]
        change, differs = change * at_rows[..., None], differs & at_rows
    return change, differs & rows.valid[:, None]


def input_changes(
    runs: Runs,
    writes: dict[int, list[Write]],
    joins: list[int],
    rows: Rows,
    times: Sequence[int],
    through_mlps: bool,
) -> Iterator[tuple[int, Changes]]:
    """The change of the residual stream at each receiver time, for the cells that have joined by then.

    Skip-only: the sum of the changes that senders wrote strictly before. Through MLPs (Wang et al. 2022, appendix B):
    every head frozen to orig, senders at their source value, MLPs recomputed; positions do not mix.

    Args:
        joins: Time of each cell's first sender, ascending.
        times: Receiver times, ascending. What is yielded is overwritten by what follows.
    """
    weights = runs.weights
    shape = (runs.n_examples, len(joins), rows.n_rows, weights.d_model)
    change = torch.zeros(shape, dtype=weights.dtype, device=weights.device)
    touched = torch.zeros(shape[:3], dtype=torch.bool, device=weights.device)
    for time in range(-1, max(times) + 1):
        joined = sum(join < time for join in joins)
        if time in times:
            yield time, Changes(change[:, :joined], touched[:, :joined])
        if time == max(times):
            return
        at_mlp = through_mlps and time >= 0 and time % STAGES_PER_LAYER == MLP_STAGE
        if at_mlp and (joined or time in writes):
            _through_mlp(runs, writes.get(time, []), time // STAGES_PER_LAYER, rows, change, touched, joined)
            continue
        for write in writes.get(time, []):
            written, differs = written_change(runs, write, rows)
            _add(change, touched, write.cells, written, differs)


def _add(
    change: Float[Tensor, "batch cell row d_model"],
    touched: Bool[Tensor, "batch cell row"],
    cells: list[int],
    written: Float[Tensor, "batch some row d_model"],
    differs: Bool[Tensor, "batch some row"],
) -> None:
    """Add to the given cells, in place; a run of cells is a slice."""
    run = range(cells[0], cells[0] + len(cells))
    place = slice(run.start, run.stop) if cells == list(run) else cells
    change[:, place] += written
    touched[:, place] |= differs


def _through_mlp(
    runs: Runs,
    writes: list[Write],
    layer: int,
    rows: Rows,
    change: Float[Tensor, "batch cell row d_model"],
    touched: Bool[Tensor, "batch cell row"],
    joined: int,
) -> None:
    """Carry the change past a live MLP, in place; senders in it overwrite its neurons or its output."""
    resid_mid = rows.take(runs.orig("resid_mid", layer))[:, None]  # (batch, 1, row, d_model)
    before = [change[:, write.cells] for write in writes]
    if joined:
        live = resid_mid + change[:, :joined]
        live += forward.mlp(runs.weights, layer, live)
        change[:, :joined] = live.sub_(rows.take(runs.orig("resid_pre", layer + 1))[:, None])
    for write, mid_change in zip(writes, before, strict=True):
        written, differs = written_change(runs, write, rows)
        if write.indices is None:
            at_rows = rows.at_rows(write.mask)[:, None, :, None]
            change[:, write.cells] = torch.where(at_rows, mid_change + written, change[:, write.cells])
        else:
            change[:, write.cells] += _overwritten_neurons(runs, write, layer, rows, resid_mid + mid_change)
        touched[:, write.cells] |= differs


def _overwritten_neurons(
    runs: Runs,
    write: Write,
    layer: int,
    rows: Rows,
    resid_mid: Float[Tensor, "batch cell row d_model"],
) -> Float[Tensor, "batch cell row d_model"]:
    """How the output of a live MLP changes when one neuron per cell is set to its source value."""
    assert write.indices is not None
    weights = runs.weights
    normed = forward.layer_norm(resid_mid, weights.ln2_w[layer], weights.ln2_b[layer], weights.eps)
    W_in = weights.W_in[layer][:, write.indices]
    pre = torch.einsum("bcrm,mc->bcr", normed, W_in) + weights.b_in[layer][write.indices][:, None]
    source = rows.take(runs.source_value("post", layer))[:, :, write.indices].transpose(1, 2)
    change = (source - forward.activation(pre)) * rows.at_rows(write.mask)[:, None]
    return change[..., None] * weights.W_out[layer][write.indices][:, None, :]
