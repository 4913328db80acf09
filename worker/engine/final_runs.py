"""The final runs of many cells: receivers enter one by one, then all cells go on together to what the metrics read."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from api_schemas.metrics import Attention, AttentionDiff
from api_schemas.nodes import Node
from worker.engine.attention_row import patched_row, query_row
from worker.engine.changed_attention import sight
from worker.engine.metrics import attention_metric, logit_metrics
from worker.engine.patched_run import enter_layer, run_layer
from worker.engine.patched_state import Replacement, Sights, State, moved_state, orig_state
from worker.engine.patching import Patching
from worker.engine.plan import CellGroup, attended_head, deepest_layer, layer_of
from worker.engine.positions import Rows, row_map, rows_of

Values = Float[Tensor, "batch sender_cell receiver_cell"]
Touched = Bool[Tensor, "batch sender_cell receiver_cell"]
"""Where a value may differ from orig."""


def final_runs(
    patching: Patching, receivers: CellGroup, patches: list[list[Replacement]], rows: Rows, n_senders: int
) -> Iterator[tuple[int, Values, Touched]]:
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

    entered: list[State] = []
    read_first = []
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
        if layer == n_layers and to_queries is not None:  # the last layer has left only the rows that are read
            later = [patch.moved(to_queries) for patch in later]
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
    return values[..., 0].reshape(len(values), -1, n_senders).transpose(1, 2)


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


def _logit_reads(patching: Patching, state: State, n_senders: int) -> Iterator[tuple[int, Values, Touched]]:
    runs, ref = patching.runs, patching.reads.reference
    assert ref is not None
    assert state.resid is not None
    values = logit_metrics(runs.weights, patching.where.metrics, ref, state.resid, state.touched)
    batch = torch.arange(runs.n_examples, device=patching.device)
    for place, value in values.items():
        if place in ref.slots:
            touched = state.touched[batch, :, ref.slots[place]]
        else:
            touched = (state.touched & ref.predicted[:, None]).any(dim=-1)
        yield place, _by_cell(value[..., None], n_senders), _by_cell(touched[..., None], n_senders)
