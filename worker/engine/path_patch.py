"""Path patching and activation patching of one batch of examples: every cell of a grid, every metric.

The order is the paper's (Wang et al. 2022, appendix B): what the senders change in each receiver's input, then the
final run with the receivers changed.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from api_schemas.metrics import ATTENTION_METRICS, Attention, AttentionDiff
from worker.engine.attention_row import patched_row, query_row
from worker.engine.final_runs import Touched, Values, final_runs
from worker.engine.metrics import attention_metric
from worker.engine.patched_state import orig_state
from worker.engine.patching import Patching, replacement
from worker.engine.plan import CellGroup, attended_head, receiver_groups, sender_groups
from worker.engine.positions import Mask, Rows, row_map, rows_of
from worker.engine.senders import Changes, first_time, input_changes, writes_of

Found = Iterator[tuple[int, CellGroup, CellGroup, Values, Touched]]
"""Metric, sender cells, receiver cells, values, and where they may differ from orig."""


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
    patching: Patching,
    senders: CellGroup,
    groups: list[CellGroup],
    needed: dict[int, Mask],
    rows: Rows,
    times: list[int],
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
    value = functional.pad(changes.value, (0, 0, 0, 0, 0, missing))
    return Changes(value, functional.pad(changes.touched, (0, 0, 0, missing)))


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
    patching: Patching,
    senders: CellGroup,
    receivers: CellGroup,
    by_time: dict[int, Changes],
    rows: Rows,
    run_rows: Rows,
) -> Found:
    """The final run from the receivers' layer on, for cells = senders x receivers."""
    to = row_map(rows, run_rows)
    moved = {time: Changes(to.move(known.value), to.move(known.touched)) for time, known in by_time.items()}
    n_senders = len(senders.cells)
    size = max(1, patching.cells_at_once(run_rows) // n_senders)
    for start in range(0, len(receivers.cells), size):
        part = receivers.part(start, start + size)
        patches = [
            [replacement(patching, node, run_rows, moved.get(node.time)) for node in cell] for cell in part.cells
        ]
        for place, value, touched in final_runs(patching, part, patches, run_rows, n_senders):
            yield place, senders, part, value, touched
