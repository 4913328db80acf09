"""How much work a spec is, roughly: the clean runs, and for each cell the rows that are computed again (ENGINE.md)."""

from collections.abc import Iterator
from dataclasses import dataclass

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import ATTENTION_METRICS, Loss, Metric
from api_schemas.models import ModelShape
from api_schemas.nodes import HEAD_HOOKS, Node, Positions, SweepOf
from api_schemas.spec import ActivationPatch, JobSpec, PathPatch

BACKWARD = 2.0
"""Cost of a backward pass, in forward passes."""


@dataclass(frozen=True)
class _Group:
    """Cells of a sweep that cost the same: a hook and a layer, with every head, neuron and position."""

    node: Node
    cells: int
    is_one_position: bool


def layer_flops(shape: ModelShape, length: float) -> float:
    """Of one token through one layer, with ``length / 2`` tokens to attend to."""
    return 8.0 * shape.d_model**2 + mlp_flops(shape) + 2.0 * length * shape.d_model


def mlp_flops(shape: ModelShape) -> float:
    """Of one token through one MLP."""
    return 4.0 * shape.d_model * shape.d_mlp


def estimated_flops(spec: JobSpec, shape: ModelShape, dataset: ResolvedDataset) -> float:
    """Floating-point operations of the whole job."""
    examples = len(dataset)
    tokens = sum(map(len, dataset.orig))
    length = tokens / examples
    run = tokens * shape.n_layers * layer_flops(shape, length)
    runs = 3 if spec.patch.source == "mean" else 2
    clean = runs * run + 2 * examples * _readout(spec, shape, length)
    rows = _rows(spec.patch.positions, dataset)
    if spec.method == "attribution":
        return clean + BACKWARD * run + examples * _attribution(spec, shape, rows, length)
    return clean + examples * sum(cost for _, cost in _cells(spec, shape, rows, length))


def _attribution(spec: JobSpec, shape: ModelShape, rows: float, length: float) -> float:
    """One product per cell, and the verified cells at the average cost of an exact one."""
    costs = list(_cells(spec, shape, rows, length))
    cells = sum(count for count, _ in costs)
    exact = sum(cost for _, cost in costs) / max(cells, 1)
    return cells * rows * 2.0 * shape.d_model + min(spec.verify or 0, cells) * exact


def _cells(spec: JobSpec, shape: ModelShape, rows: float, length: float) -> Iterator[tuple[int, float]]:
    """Number of cells and their cost together for one example, per group of alike cells."""
    patch = spec.patch
    readout = _readout(spec, shape, length)
    if isinstance(patch, ActivationPatch):
        for group in _groups(patch.nodes, shape, length):
            layers = shape.n_layers - (group.node.layer or 0)
            cost = layers * layer_flops(shape, length) * _own_rows(group, rows, length) + readout
            yield group.cells, group.cells * cost
        return
    for sender in _groups(patch.senders, shape, length):
        for receiver in _groups(patch.receivers, shape, length):
            count = sender.cells * receiver.cells
            if sender.node.time < receiver.node.time:
                own_rows = min(_own_rows(sender, rows, length), _own_rows(receiver, rows, length))
                own_rows = 1.0 if _reads_one_row(spec, receiver.node, shape) else own_rows
                yield count, count * (_edge(spec, shape, sender.node, receiver.node, own_rows, length) + readout)


def _edge(spec: JobSpec, shape: ModelShape, sender: Node, receiver: Node, rows: float, length: float) -> float:
    """From one sender to one receiver, and on to the metric."""
    first, last = receiver.layer or 0, _last_layer(spec, receiver, shape)
    cost = rows * (4.0 * shape.d_model * shape.d_head + 2.0 * length * shape.d_model)
    cost += rows * max(last - first, 0) * layer_flops(shape, length)
    if isinstance(spec.patch, PathPatch) and spec.patch.direct_includes_mlps:
        cost += rows * max(first - (sender.layer or 0), 1) * mlp_flops(shape)
    return cost


def _reads_one_row(spec: JobSpec, receiver: Node, shape: ModelShape) -> bool:
    """Whether every metric sees the receiver at its own position only: a head's query, or the end of the stream."""
    if receiver.hook == "q":
        return all(isinstance(metric, ATTENTION_METRICS) and metric.head is None for metric in spec.all_metrics)
    is_last = receiver.hook == "resid_post" and receiver.layer == shape.n_layers - 1
    return is_last and not any(isinstance(metric, Loss) for metric in spec.all_metrics)


def _last_layer(spec: JobSpec, receiver: Node, shape: ModelShape) -> int:
    """Up to which layer must be computed again: that of the metric's head, or all."""
    layers = [
        (metric.head.layer if metric.head else receiver.layer or 0)
        if isinstance(metric, ATTENTION_METRICS)
        else shape.n_layers
        for metric in spec.all_metrics
    ]
    return max(layers)


def _readout(spec: JobSpec, shape: ModelShape, length: float) -> float:
    """Unembedding of one example."""
    return sum(2.0 * shape.d_model * _columns(metric, shape, length) for metric in spec.all_metrics)


def _columns(metric: Metric, shape: ModelShape, length: float) -> float:
    if not metric.reads_all_logits:
        return 2.0
    return shape.d_vocab * (length if isinstance(metric, Loss) else 1)


def _groups(end: list[Node] | SweepOf, shape: ModelShape, length: float) -> list[_Group]:
    """Cells of an end, by cost. Nodes patched together count as their first; a residual point as all before it."""
    if not isinstance(end, SweepOf):
        return [_Group(min(end, key=lambda node: node.time), 1, False)]
    sweep = end.sweep
    layers = range(shape.n_layers) if sweep.layers == "all" else sweep.layers
    nodes = [Node(hook=hook, layer=layer) for hook in sweep.hooks for layer in layers]
    cells = max(_count(sweep.neurons, shape.d_mlp), 1)
    if set(sweep.hooks) <= HEAD_HOOKS:
        cells *= _count(sweep.heads or "all", shape.n_heads)
    if sweep.positions is not None:
        cells *= round(length) if sweep.positions == "each" else len(sweep.positions)
    return [_Group(node, cells, sweep.positions is not None) for node in nodes]


def _count(choice: str | list[int] | None, size: int) -> int:
    if isinstance(choice, list):
        return len(choice)
    return size if choice == "all" else 1


def _own_rows(group: _Group, rows: float, length: float) -> float:
    """Rows that a cell changes: after one position on average half of the prompt."""
    return min(rows, (length + 1) / 2) if group.is_one_position else rows


def _rows(positions: Positions | None, dataset: ResolvedDataset) -> float:
    """Rows from the first patched position to the end of the prompt, on average."""
    lengths = [len(prompt) for prompt in dataset.orig]
    firsts = _first_positions(positions, dataset)
    return sum(max(length - first, 0) for length, first in zip(lengths, firsts, strict=True)) / len(lengths)


def _first_positions(positions: Positions | None, dataset: ResolvedDataset) -> list[int]:
    if positions is None:
        return [0] * len(dataset)
    if isinstance(positions, str):
        return dataset.roles[positions]
    if isinstance(positions, int):
        return [positions] * len(dataset)
    if isinstance(positions[0], list):
        own = [entry for entry in positions if isinstance(entry, list)]
        return [min(entry, default=len(prompt)) for entry, prompt in zip(own, dataset.orig, strict=True)]
    each = [_first_positions(ref, dataset) for ref in positions if not isinstance(ref, list)]
    return [min(places) for places in zip(*each, strict=True)]
