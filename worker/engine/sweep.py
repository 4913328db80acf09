"""Many patches of one batch of examples: every cell of a grid, every metric.

The steps are those of ``path_patch``, and the paper's (Wang et al. 2022, appendix B): what the senders change in each
receiver's input, then the final run with the receivers changed. Here they are shared by all cells that can share them:
senders are carried along the residual stream together, and cells go through the final run together from the layer on
in which they have entered. Only rows that the plan needs are computed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from planning.graph import Graph, Site
from planning.plan import Pass, ReceiverGroup
from planning.prompts import Mask, attended_head
from worker.engine import model, transformer
from worker.engine.attention_row import patched_row, put_scores, query_scores_of_rows
from worker.engine.final_run import Arrival, final_run
from worker.engine.metrics import Reads, attention_metric
from worker.engine.receivers import ChangedInput, Patch, SetValue
from worker.engine.rows import Rows, chosen, on_device, row_map, rows_of
from worker.engine.run_layer import Patches
from worker.engine.runs import Runs
from worker.engine.senders import Changes, input_changes

PADDING = 0.25
"""Memory of an invalid row, in valid ones: it has a place in the stream and in attention, and none in the products."""
Values = Float[Tensor, "batch sender_cell receiver_cell"]
Touched = Bool[Tensor, "batch sender_cell receiver_cell"]
"""Where a value may differ from orig."""
MetricValue = tuple[int, Float[Tensor, "batch cell"], Bool[Tensor, "batch cell"]]
"""A metric's index in the spec, its values, and where they may differ from orig."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some examples: their clean runs, and the metrics that are read."""

    runs: Runs
    reads: Reads
    rows_at_once: int
    """How many rows of the residual stream (cells x examples x positions) are in work together."""

    def cells_at_once(self, rows: Rows) -> int:
        """How many cells with these rows may be in work together."""
        of_one_cell = (1 - PADDING) * rows.real.sum() + PADDING * rows.real.size
        return max(1, int(self.rows_at_once / of_one_cell))


@dataclass(frozen=True, eq=False)
class Found:
    """One metric in some cells."""

    metric: int
    """Index in the spec."""
    sender_cells: list[int]
    receiver_cells: list[int]
    value: Values
    touched: Touched


def all_cells(batch: Batch, n_senders: int, found: Iterable[Found]) -> list[Values]:
    """Every metric in every cell: orig's values bit for bit, or what was found where a change has reached a cell.

    Args:
        n_senders: Sender cells of the grid.
    """
    values = [orig.repeat(1, n_senders, 1) for orig in batch.reads.orig_values]
    for one in found:
        senders = on_device(one.sender_cells, batch.runs.device)[:, None]
        receivers = on_device(one.receiver_cells, batch.runs.device)[None]
        orig = values[one.metric][:, senders, receivers]
        values[one.metric][:, senders, receivers] = torch.where(one.touched, one.value.to(orig.dtype), orig)
    return values


def patch_paths(batch: Batch, together: Pass, through_mlps: bool, overwrite: bool) -> Iterator[Found]:
    """Carry the senders' changes along the stream, and run each group of receivers once its last input is known.

    Cells are in the order in which they begin to differ from orig: those that have begun are always the first ones.

    Args:
        together: Senders at the same positions, and the receivers that they meet.
        through_mlps: Changes pass the MLPs between senders and receivers; else skip connections only.
        overwrite: A receiver's input becomes orig plus its change; else the change is added to the live input.
    """
    rows = rows_of(together.rows, batch.runs.device)
    several_times = any(len(group.times) > 1 for group in together.receivers)
    last_stream = Site("resid_pre", batch.runs.weights.architecture.n_layers)
    size = batch.cells_at_once(rows)
    for start in range(0, len(together.senders.cells), size):
        senders = together.senders.part(start, start + size)
        known: dict[int, Changes] = {}
        for time, changes in input_changes(batch.runs, senders, rows, together.times, through_mlps):
            n_begun = changes.touched.shape[1]
            if several_times:  # what is yielded is overwritten by what follows
                changes = Changes(changes.value.clone(), changes.touched.clone())
            known[time] = changes
            complete = [group for group in together.receivers if group.times[-1] == time]
            for group in complete if n_begun else []:
                inputs = {own: known[own] for own in group.times}
                read = _change_and_run
                if group.own_heads is not None:
                    read = _read_own_attention
                elif group.sites[0] == [last_stream]:
                    read = _read_changed_end
                yield from read(batch, senders.cells[:n_begun], group, inputs, rows, overwrite)


def changed_input(site: Site, mask: Mask, changes: Changes, rows: Rows, overwrite: bool) -> ChangedInput:
    """A receiver with the change of its input, at its own positions."""
    at_rows = rows.at_rows(mask)
    if not (mask | ~rows.mask).all():
        changes = Changes(changes.value * at_rows[:, None, :, None], changes.touched & at_rows[:, None])
    return ChangedInput(site, at_rows, changes, overwrite)


def _read_own_attention(
    batch: Batch, sender_cells: list[int], group: ReceiverGroup, inputs: dict[int, Changes], rows: Rows, overwrite: bool
) -> Iterator[Found]:
    """Shortcut: receivers whose own head's attention is the metric. One row of scores per head, and no final run."""
    (receiver,), (changes,) = group.sites[0], inputs.values()
    assert receiver.layer is not None
    assert group.own_heads is not None
    patch = changed_input(receiver, group.masks[0], changes, rows, overwrite)
    for query, readings in batch.reads.queries:
        heads = sorted({head for index in readings for head in group.own_heads[index].values()})
        if not heads:
            continue
        pattern, touched = own_attention(batch.runs, patch, receiver.layer, heads, query, rows)
        for index, reading in readings.items():
            if own := group.own_heads[index]:
                slots = chosen([heads.index(head) for head in own.values()], pattern.device)
                value = attention_metric(reading, pattern)[:, :, slots]
                cells = [group.cells[cell] for cell in own]
                yield Found(index, sender_cells, cells, value, touched[..., None].expand(value.shape))


def own_attention(
    runs: Runs, patch: ChangedInput, layer: int, heads: list[int], query: Rows, rows: Rows
) -> tuple[Float[Tensor, "batch any_cell heads pos"], Bool[Tensor, "batch cell"]]:
    """Attention of one query in heads of which the query, the keys or both read a changed input, and where it changes.

    Args:
        query: One row per example.
        rows: Of the change.
    """
    weights, hook, change = runs.weights, patch.site.hook, patch.change
    orig, to = runs.orig("resid_pre", layer), row_map(rows, query)
    stream = query.take(orig)[:, None]
    q = model.project(weights, "q", layer, heads, transformer.norm(weights, "ln1", layer, stream))
    touched = torch.zeros_like(change.touched[:, :, 0])
    if hook in ("q", "pattern"):
        normed = transformer.norm(weights, "ln1", layer, stream + to.move(change.value))
        changed = model.project(weights, "q", layer, heads, normed)
        q = torch.where(to.move(patch.mask[:, None])[..., None, None], changed, q)
        touched = to.move(change.touched)[:, :, 0]
    q = transformer.positioned(weights, "q", layer, q, query.index[:, None])[:, :, 0]
    scores = transformer.query_scores(weights, q, runs.activations.keys(layer, heads)[: runs.n_examples])
    if hook in ("k", "query_k", "pattern"):
        of_orig = rows.take(scores.permute(0, 3, 1, 2)).transpose(1, 2)
        changed = rows.take(orig)[:, None] + change.value
        changed = query_scores_of_rows(weights, layer, heads, q, changed, rows.index)
        changed = torch.where(patch.mask[:, None, :, None], changed, of_orig)
        scores = put_scores(scores, changed, rows)
        before_query = rows.index <= query.index
        touched = touched | (change.touched & before_query[:, None]).any(dim=-1)
    return transformer.pattern_of_row(weights, layer, query, scores), touched


def _read_changed_end(
    batch: Batch, sender_cells: list[int], group: ReceiverGroup, inputs: dict[int, Changes], rows: Rows, overwrite: bool
) -> Iterator[Found]:
    """Shortcut: receivers that are the last residual stream itself. No layer is left to run."""
    ((receiver,), *_), (changes,), logits = group.sites, inputs.values(), batch.reads.logits
    assert logits is not None
    to = row_map(rows, logits.rows)
    moved = Changes(to.move(changes.value), to.move(changes.touched))
    change = changed_input(receiver, group.masks[0], moved, logits.rows, overwrite).change
    resid = logits.rows.take(batch.runs.orig("resid_pre", receiver.layer))[:, None] + change.value
    for index, value in logits.values(batch.runs.weights, resid, change.touched).items():
        found = (value, logits.touched(index, change.touched))
        value, touched = (one[..., None].expand(-1, -1, len(group.cells)) for one in found)
        yield Found(index, sender_cells, group.cells, value, touched)


def _change_and_run(
    batch: Batch, sender_cells: list[int], group: ReceiverGroup, inputs: dict[int, Changes], rows: Rows, overwrite: bool
) -> Iterator[Found]:
    """The final run of path patching, for cells = senders x receivers."""
    run_rows = rows_of(group.computed, batch.runs.device)
    to = row_map(rows, run_rows)
    for own, met in group.met_by([known.touched.shape[1] for known in inputs.values()]):
        moved = {
            time: Changes(to.move(inputs[time].value[:, own]), to.move(inputs[time].touched[:, own]))
            for time in met.times
        }
        for part in _parts(batch, met, run_rows, own.stop - own.start):
            patches: list[Patches] = [
                [
                    changed_input(site, mask, moved[met.graph.time_of(site)], run_rows, overwrite)
                    for site, mask in zip(sites, part.masks, strict=True)
                ]
                for sites in part.sites
            ]
            yield from run_and_read(batch, part, patches, run_rows, sender_cells[own])


def patch_activations(batch: Batch, group: ReceiverGroup) -> Iterator[Found]:
    """Every cell sets its nodes to their source value and computes again what follows."""
    rows = rows_of(group.computed, batch.runs.device)
    at_rows = [rows.at_rows(mask) for mask in group.masks]
    for part in _parts(batch, group, rows, 1):
        patches: list[Patches] = [
            [SetValue(site, mask) for site, mask in zip(sites, at_rows, strict=True)] for sites in part.sites
        ]
        yield from run_and_read(batch, part, patches, rows, [0])


def _parts(batch: Batch, group: ReceiverGroup, rows: Rows, n_senders: int) -> Iterator[ReceiverGroup]:
    """Receivers, as many as may be in work together."""
    size = max(1, batch.cells_at_once(rows) // n_senders)
    for start in range(0, len(group.cells), size):
        yield group.part(start, start + size)


def run_and_read(
    batch: Batch, group: ReceiverGroup, patches: list[Patches], rows: Rows, sender_cells: list[int]
) -> Iterator[Found]:
    """The final runs of some cells, and every metric that they pass."""
    n_senders, logits = len(sender_cells), batch.reads.logits
    logit_rows = None if logits is None else logits.rows
    for arrival in final_run(batch.runs, patches, rows, n_senders, group.last_layer, logit_rows):
        read = _read_end if arrival.layer == batch.runs.weights.architecture.n_layers else _read_attention
        for index, value, touched in read(batch, arrival, group):
            cells = group.cells[arrival.receiver_cells]
            yield Found(index, sender_cells, cells, _by_cell(value, n_senders), _by_cell(touched, n_senders))


def _by_cell(values: Shaped[Tensor, "batch cell"], n_senders: int) -> Shaped[Tensor, "batch sender_cell receiver_cell"]:
    """(batch, receiver x sender) as (batch, sender, receiver)."""
    return values.reshape(len(values), -1, n_senders).transpose(1, 2)


def _read_attention(batch: Batch, arrival: Arrival, group: ReceiverGroup) -> Iterator[MetricValue]:
    """The attention metrics of heads in the layer that begins."""
    first_cell = group.sites[arrival.receiver_cells][0]
    for query, readings in batch.reads.queries:
        for index, reading in readings.items():
            layer, head = attended_head(reading, first_cell)
            if layer == arrival.layer:
                mine = _of_head(arrival.patches, group.graph, layer, head)
                row = patched_row(batch.runs, arrival.state, layer, [head], query, mine)
                value, n_cells = attention_metric(reading, row.pattern)[..., 0], arrival.state.n_cells
                yield index, value.expand(-1, n_cells), row.touched.expand(-1, n_cells)


def _of_head(patches: Sequence[Patch], graph: Graph, layer: int, head: int) -> Patches:
    """The patches of a query head's pattern, each as one of all heads that are computed."""
    inputs = [one for one in patches if one.site.layer == layer and one.site.hook in ("q", "k", "query_k", "pattern")]
    heads = [graph.query_heads_of(patch.site) for patch in inputs]
    mine = [patch for patch, own in zip(inputs, heads, strict=True) if own is None or head in own]
    return [patch.at(of_query_heads(patch.site)) for patch in mine]


def of_query_heads(site: Site) -> Site:
    """An input of attention as all query heads read it."""
    return Site("query_k" if site.hook == "k" else site.hook, site.layer)


def _read_end(batch: Batch, arrival: Arrival, group: ReceiverGroup) -> Iterator[MetricValue]:
    """The metrics of logits."""
    logits, state = batch.reads.logits, arrival.state
    assert logits is not None
    assert state.resid is not None
    for index, value in logits.values(batch.runs.weights, state.resid, state.touched).items():
        yield index, value, logits.touched(index, state.touched)
