"""Path patching and activation patching of one batch of examples: every cell of a grid, every metric.

The order is the paper's (Wang et al. 2022, appendix B): what the senders change in each receiver's input, then the
final run with the receivers changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from api_schemas.grid import Grid
from api_schemas.metrics import ATTENTION_METRICS, Attention, AttentionDiff
from api_schemas.nodes import Node
from worker.engine.attention_row import patched_row, query_row
from worker.engine.changed_attention import sight
from worker.engine.metrics import attention_metric, logit_metrics
from worker.engine.patched_run import enter_layer, run_layer
from worker.engine.patched_state import Replacement, Sights, State, moved_state, orig_state
from worker.engine.plan import CellGroup, Where, attended_head, deepest_layer, layer_of, receiver_groups, sender_groups
from worker.engine.positions import Mask, Rows, row_map, rows_of
from worker.engine.reads import Reads
from worker.engine.runs import Runs
from worker.engine.senders import Changes, first_time, input_changes, writes_of


@dataclass(frozen=True, eq=False)
class Patching:
    """One grid of patches on one batch of examples, ready to run."""

    runs: Runs
    grid: Grid
    where: Where
    reads: Reads
    through_mlps: bool
    overwrite: bool
    rows_at_once: int
    """How many rows of the residual stream (cells x examples x positions) are in work together."""

    @property
    def device(self) -> torch.device:
        return self.runs.weights.device

    def cells_at_once(self, rows: Rows) -> int:
        return max(1, self.rows_at_once // (self.runs.n_examples * rows.n_rows))


Found = Iterator[tuple[int, CellGroup, CellGroup, Tensor, Tensor]]
"""Metric, sender cells, receiver cells, values (batch, sender_cell, receiver_cell), and where they may differ from orig."""


def patched_metrics(patching: Patching) -> list[Float[Tensor, "batch sender_cell receiver_cell"]]:
    """Every metric in every cell; a cell that no change reaches equals orig bit for bit."""
    n_senders = len(patching.grid.senders.cells) if patching.grid.receivers else 1
    values = [orig.repeat(1, n_senders, 1) for orig in patching.reads.orig_values]
    found = activation_cells(patching) if patching.grid.receivers is None else path_cells(patching)
    for place, senders, receivers, value, touched in found:
        rows = torch.tensor(senders.places, device=patching.device)[:, None]
        columns = torch.tensor(receivers.places, device=patching.device)[None]
        orig = values[place][:, rows, columns]
        values[place][:, rows, columns] = torch.where(touched, value.to(orig.dtype), orig)
    return values


def path_cells(patching: Patching) -> Found:
    """Path patching: senders that share positions go through one pass, and meet the receivers in the order of time."""
    grid, where = patching.grid, patching.where
    assert grid.receivers is not None
    all_receivers = receiver_groups(grid.receivers.cells)
    for all_senders in sender_groups(grid.senders.cells):
        for groups in all_receivers:
            needed = {id(group): where.needed(all_senders, group) for group in groups}
            seen = [group for group in groups if needed[id(group)].any()]
            if not seen:
                continue
            times = sorted({time for group in seen for time in group.times})
            mask = sum((needed[id(group)] for group in seen[1:]), start=needed[id(seen[0])])
            rows = rows_of(mask, patching.device)
            n_senders = len([cell for cell in all_senders.cells if first_time(cell) < times[-1]])
            size = patching.cells_at_once(rows)
            for start in range(0, n_senders, size):
                senders = all_senders.part(start, min(start + size, n_senders))
                yield from _meet_receivers(patching, senders, seen, needed, rows, times)


def _meet_receivers(
    patching: Patching, senders: CellGroup, groups: list[CellGroup], needed: dict[int, Mask], rows: Rows, times: list[int]
) -> Found:
    """Carry the senders' changes along, and finish each group of receivers when its last input is known."""
    writes = writes_of(senders.cells, patching.where.of)
    joins = [first_time(cell) for cell in senders.cells]
    earlier: dict[int, Changes] = {}
    several = any(len(group.times) > 1 for group in groups)
    for time, changes in input_changes(patching.runs, writes, joins, rows, times, patching.through_mlps):
        n_cells = changes.touched.shape[1]
        if several:
            earlier[time] = Changes(changes.value.clone(), changes.touched.clone())
        if n_cells == 0:
            continue
        joined = senders.part(0, n_cells)
        for group in groups:
            if group.times[-1] != time:
                continue
            by_time = {known: _widen(earlier.get(known, changes), n_cells) for known in group.times}
            if patching.where.is_direct(group):
                yield from direct_cells(patching, joined, group, by_time[time], rows)
            else:
                run_rows = rows_of(patching.where.computed(needed[id(group)], group), patching.device)
                yield from general_cells(patching, joined, group, by_time, rows, run_rows)


def _widen(changes: Changes, n_cells: int) -> Changes:
    """Changes of more cells, of which the later ones have none yet."""
    missing = n_cells - changes.touched.shape[1]
    if missing == 0:
        return changes
    return Changes(F.pad(changes.value, (0, 0, 0, 0, 0, missing)), F.pad(changes.touched, (0, 0, 0, missing)))


def replacement(patching: Patching, node: Node, rows: Rows, changes: Changes | None) -> Replacement:
    """A receiver with its input's change, at its own positions; or an activation to set."""
    own = patching.where.of(node)
    mask = rows.at_rows(own)
    if changes is not None and not (own | ~rows.mask).all():
        at_rows = mask[:, None]
        changes = Changes(changes.value * at_rows[..., None], changes.touched & at_rows)
    return Replacement(node, mask, changes, patching.overwrite)


def direct_cells(patching: Patching, senders: CellGroup, receivers: CellGroup, changes: Changes, rows: Rows) -> Found:
    """Receivers whose own head's attention is the metric: one row of scores per head, and one softmax."""
    runs, where = patching.runs, patching.where
    state = orig_state(runs, rows, len(senders.cells))
    template = receivers.cells[0][0]
    patch = replacement(patching, template, rows, changes)
    for query, places in patching.reads.by_query():
        metrics = {place: patching.where.metrics[place] for place in places}
        heads: dict[int, list[tuple[int, int]]] = {}  # head -> (metric, which receiver cell)
        for place, metric in metrics.items():
            assert isinstance(metric, ATTENTION_METRICS)
            for number, cell in enumerate(receivers.cells):
                layer, head = attended_head(metric, cell)
                if where.reach_of_attention(cell[0], layer, head) is not None:
                    heads.setdefault(head, []).append((place, number))
        if not heads:
            continue
        order = sorted(heads)
        assert template.layer is not None
        row = patched_row(runs, state, template.layer, order, query_row(query, patching.device), [patch])
        for place, metric in metrics.items():
            assert isinstance(metric, Attention | AttentionDiff)
            members = [(slot, number) for slot, head in enumerate(order) for at, number in heads[head] if at == place]
            if members:
                value = attention_metric(metric, where.dataset, row.probabilities)[:, :, [slot for slot, _ in members]]
                chosen = CellGroup([receivers.places[number] for _, number in members], [])
                yield place, senders, chosen, value, row.touched[..., None].expand(value.shape)


def activation_cells(patching: Patching) -> Found:
    """Activation patching: every cell sets its nodes to their source value and recomputes what follows."""
    none = CellGroup([0], [[]])
    for groups in receiver_groups(patching.grid.senders.cells):
        for group in groups:
            needed = patching.where.needed(None, group)
            if needed.any():
                rows = rows_of(patching.where.computed(needed, group), patching.device)
                yield from general_cells(patching, none, group, {}, rows, rows)


def general_cells(
    patching: Patching, senders: CellGroup, receivers: CellGroup, by_time: dict[int, Changes], rows: Rows, run_rows: Rows
) -> Found:
    """The final run from the receivers' layer on, for cells = senders x receivers."""
    to = row_map(rows, run_rows)
    moved = {time: Changes(to.move(known.value), to.move(known.touched)) for time, known in by_time.items()}
    n_senders = len(senders.cells)
    size = max(1, patching.cells_at_once(run_rows) // n_senders)
    for start in range(0, len(receivers.cells), size):
        part = receivers.part(start, start + size)
        patches = [[replacement(patching, node, run_rows, moved.get(node.time)) for node in cell] for cell in part.cells]
        for place, value, touched in final_runs(patching, part, patches, run_rows, n_senders):
            yield place, senders, part, value, touched


def final_runs(
    patching: Patching, receivers: CellGroup, patches: list[list[Replacement]], rows: Rows, n_senders: int
) -> Iterator[tuple[int, Float[Tensor, "batch sender_cell receiver_cell"], Bool[Tensor, "batch sender_cell receiver_cell"]]]:
    """Receivers enter their first layer one by one, where only they are recomputed; then all cells go on together."""
    runs, n_layers = patching.runs, patching.runs.weights.n_layers
    first = min(layer_of(node) for node in receivers.cells[0])
    last = deepest_layer(patching.where.metrics, receivers.cells, n_layers)
    sights = _sights(rows, rows)
    queries = patching.reads.logit_rows
    at_last = _sights(queries, rows) if queries is not None else sights
    to_queries = row_map(rows, queries) if queries is not None else None

    def advance(state: State, layer: int, active: list[Replacement]) -> State:
        if layer == n_layers - 1:
            return run_layer(runs, state, layer, active, at_last, to_queries)
        return run_layer(runs, state, layer, active, sights, None)

    entered, read_first = [], []
    for cell_patches in patches:
        state = enter_layer(runs, orig_state(runs, rows, n_senders), first, cell_patches)
        read_first.append(list(attention_reads(patching, state, first, cell_patches, receivers.cells[len(entered)])))
        entered.append(advance(state, first, cell_patches) if first < last else state)
    for reads in zip(*read_first, strict=True):
        value = torch.cat([value.expand(-1, n_senders, -1) for _, value, _ in reads], dim=2)
        touched = torch.cat([touched.expand(-1, n_senders, -1) for _, _, touched in reads], dim=2)
        yield reads[0][0], value, touched
    if first >= last and last < n_layers:
        return
    state = entered[0] if len(entered) == 1 else _side_by_side(entered)
    later = patches[0] if len(patches) == 1 else []
    for layer in range(first + 1, last + 1):
        state = enter_layer(runs, state, layer, later)
        for place, value, touched in attention_reads(patching, state, layer, later, receivers.cells[0]):
            yield place, _by_cell(value, n_senders), _by_cell(touched, n_senders)
        if layer < last:
            state = advance(state, layer, later)
    if queries is not None:
        yield from _logit_reads(patching, moved_state(state, row_map(state.rows, queries), queries), n_senders)


def _sights(queries: Rows, keys: Rows) -> Sights:
    nothing = rows_of(keys.mask & False, keys.index.device)
    return Sights(queries, sight(queries, keys), sight(queries, nothing))


def _side_by_side(states: list[State]) -> State:
    """One state of all cells, receiver by receiver."""
    resid = torch.cat([state.resid for state in states if state.resid is not None], dim=1)
    return State(resid, torch.cat([state.touched for state in states], dim=1), states[0].rows)


def _by_cell(values: Tensor, n_senders: int) -> Tensor:
    """(batch, receiver x sender, 1) as (batch, sender, receiver)."""
    return values[..., 0].unflatten(1, (-1, n_senders)).transpose(1, 2)


def attention_reads(
    patching: Patching, state: State, layer: int, patches: list[Replacement], cell: list[Node]
) -> Iterator[tuple[int, Float[Tensor, "batch cell one"], Bool[Tensor, "batch cell one"]]]:
    """The attention metrics of heads in this layer, where it begins."""
    for query, places in patching.reads.by_query():
        for place in places:
            metric = patching.where.metrics[place]
            assert isinstance(metric, Attention | AttentionDiff)
            at_layer, head = attended_head(metric, cell)
            if at_layer == layer:
                mine = [patch for patch in patches if _touches_attention(patch.node, layer, head)]
                row = patched_row(patching.runs, state, layer, [head], query_row(query, patching.device), mine)
                value = attention_metric(metric, patching.where.dataset, row.probabilities)
                shape = (-1, state.n_cells, -1)
                yield place, value.expand(shape), row.touched[..., None].expand(shape)


def _touches_attention(node: Node, layer: int, head: int) -> bool:
    return node.hook in ("q", "k", "pattern") and node.layer == layer and node.head in (None, head)


def _logit_reads(
    patching: Patching, state: State, n_senders: int
) -> Iterator[tuple[int, Float[Tensor, "batch sender_cell receiver_cell"], Bool[Tensor, "batch sender_cell receiver_cell"]]]:
    runs, ref = patching.runs, patching.reads.reference
    assert ref is not None and state.resid is not None
    values = logit_metrics(runs.weights, patching.where.metrics, ref, state.resid)
    batch = torch.arange(runs.n_examples, device=patching.device)
    for place, value in values.items():
        if place in ref.slots:
            touched = state.touched[batch, :, ref.slots[place]]
        else:
            touched = (state.touched & ref.predicted[:, None]).any(dim=-1)
        yield place, _by_cell(value[..., None], n_senders), _by_cell(touched[..., None], n_senders)
