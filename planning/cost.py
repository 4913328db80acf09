"""How much work a spec is, roughly, in floating-point operations of matrix products (ENGINE.md says what is computed).

What is bound by memory counts as the products that take as long, by the constants below, which were fitted on a CPU to
jobs like those of ``benchmarks/estimates.py``. The clean runs come first, then for each cell the rows that are
computed again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import ATTENTION_METRICS, Head, Loss, Metric
from api_schemas.models import ModelShape
from api_schemas.nodes import HEAD_HOOKS, Node, Positions, SweepOf
from api_schemas.spec import ActivationPatch, JobSpec, PathPatch
from planning.graph import changes_pattern
from planning.grid import cells_within

GELU = 250.0
"""Of one neuron's activation function."""
VISIT = 120.0
"""Of one number of the residual stream, each time that it is changed, normalised and stored."""
BACKWARD = 2.0
"""Cost of a backward pass, in forward passes."""
GRADIENT = 5_000.0
"""Of one number of a receiver's gradient: through its own part of the graph, and carried back to the senders."""
OWN_HEAD = 0.35
"""The same of a receiver whose own attention is the metric, in gradients of others: its graph ends there."""


@dataclass(frozen=True)
class _Group:
    """Cells of a sweep that cost the same: a hook and a layer, with every head, neuron and position."""

    node: Node
    cells: int
    is_one_position: bool
    is_part: bool
    """Whether each cell is one head or neuron."""


def mlp_flops(shape: ModelShape) -> float:
    """Of one token through one MLP."""
    return 4.0 * shape.d_model * shape.d_mlp + GELU * shape.d_mlp + VISIT * shape.d_model


def attention_flops(shape: ModelShape, length: float) -> float:
    """Of one token through one attention layer, with ``length / 2`` tokens to attend to."""
    return 8.0 * shape.d_model**2 + 2.0 * length * shape.d_model + VISIT * shape.d_model


def layer_flops(shape: ModelShape, length: float) -> float:
    """Of one token through one layer."""
    return attention_flops(shape, length) + mlp_flops(shape)


def phase_flops(spec: JobSpec, shape: ModelShape, dataset: ResolvedDataset) -> tuple[float, ...]:
    """Of the whole job, by phase: the means if these are patched, then the cells, then those that are verified."""
    return tuple(len(dataset) * flops for flops in _Costs(spec, shape, dataset).phases())


class _Costs:
    """The parts of a job's work."""

    def __init__(self, spec: JobSpec, shape: ModelShape, dataset: ResolvedDataset) -> None:
        self.spec, self.shape, self.patch = spec, shape, spec.patch
        self.length = sum(map(len, dataset.orig)) / len(dataset)
        self.rows = _rows(spec.patch.positions, dataset)
        self.reads_loss = any(isinstance(metric, Loss) for metric in spec.all_metrics)
        self.layer = layer_flops(shape, self.length)
        self.mlp = mlp_flops(shape)
        self.attention = attention_flops(shape, self.length)

    def phases(self) -> Iterator[float]:
        """Of one example; the clean runs go no deeper than the last metric reads."""
        end = self.patch.nodes if isinstance(self.patch, ActivationPatch) else self.patch.receivers
        nodes = [group.node for group in self.groups(end)]
        deepest = max(self.last_layer(metric, node) for metric in self.spec.all_metrics for node in nodes)
        run = self.length * min(deepest + 0.5, self.shape.n_layers) * self.layer
        clean = 2 * (run + self.readout())
        cells = list(self.cells())
        exact = sum(cost for _, cost in cells)
        if self.patch.source == "mean":
            yield 2 * run
        yield clean + (exact if self.spec.method == "exact" else self.attribution(run))
        if self.spec.verify is not None:
            count = sum(count for count, _ in cells)
            yield clean + min(self.spec.verify, count) * exact / max(count, 1)

    def attribution(self, run: float) -> float:
        """A pass forward and back for each metric, every receiver's gradient, and a product for every cell."""
        assert isinstance(self.patch, PathPatch)
        groups = self.groups(self.patch.receivers)
        receivers = sum(group.cells for group in groups)
        senders = sum(group.cells for group in self.groups(self.patch.senders))
        numbers = self.length * self.shape.d_model
        each = 2.0 * senders * receivers * numbers
        if self.patch.direct_includes_mlps:
            layers = sum(group.cells * (group.node.time // 6) for group in groups)
            each += layers * self.length * BACKWARD * self.mlp
        own = [isinstance(metric, ATTENTION_METRICS) and metric.head is None for metric in self.spec.all_metrics]
        gradients = receivers * numbers * sum(GRADIENT * (OWN_HEAD if is_own else 1.0) for is_own in own)
        first = min(group.node.time for group in groups) // 6
        return len(own) * ((1 + BACKWARD) * run * (1 - first / self.shape.n_layers) + each) + gradients

    def cells(self) -> Iterator[tuple[int, float]]:
        """Number of cells and their cost together for one example, per group of alike cells."""
        if isinstance(self.patch, ActivationPatch):
            for group in self.groups(self.patch.nodes):
                yield group.cells, group.cells * self.final_run(group, self.own_rows(group))
            return
        receivers = [group for group in self.groups(self.patch.receivers) if self.seen_by(group.node)]
        for sender in self.groups(self.patch.senders):
            yield from self.of_sender(sender, receivers)

    def of_sender(self, sender: _Group, receivers: list[_Group]) -> Iterator[tuple[int, float]]:
        """The sender's change is carried along once, and meets every later receiver."""
        later = [receiver for receiver in receivers if sender.node.time < receiver.node.time]
        if not later:
            return
        rows = max(self.rows_of(sender, receiver) for receiver in later)
        yield 0, sender.cells * rows * self.carried(sender, max(receiver.node.time for receiver in later))
        for receiver in later:
            own_rows = self.rows_of(sender, receiver)
            count = sender.cells * receiver.cells
            yield count, count * min(own_rows, 1.0) * self.final_run(receiver, max(own_rows, 1.0))

    def carried(self, sender: _Group, until: int) -> float:
        """Of one row: what the sender writes, and the MLPs on its way."""
        shape, patch = self.shape, self.patch
        width = shape.d_model // shape.n_heads if sender.is_part else shape.d_model
        cost = 2.0 * width * shape.d_model if sender.node.hook == "z" else 0.0
        cost += VISIT * shape.d_model
        if isinstance(patch, PathPatch) and patch.direct_includes_mlps:
            mlps = [6 * layer + 5 for layer in range(shape.n_layers)]
            cost += sum(sender.node.time < mlp < until for mlp in mlps) * self.mlp
        return cost

    def final_run(self, group: _Group, rows: float) -> float:
        """From the node on to the last metric, with the layers between computed again at ``rows``."""
        shape, node = self.shape, group.node
        seen_by = self.seen_by(node)
        if not seen_by:
            return 0.0
        first = max(node.time, 0) // 6
        last = max(self.last_layer(metric, node) for metric in seen_by)
        cost = rows * (VISIT * shape.d_model + self.entering(group)) + self.readout()
        if first >= last:
            return cost
        cost += rows * (self.layer if node.hook in ("resid_pre", "resid_post", "embed", "pos_embed") else self.mlp)
        cost += rows * max(last - first - 1, 0) * self.layer
        if last == shape.n_layers and not self.reads_loss:  # the last MLP runs where the metric is read
            cost -= (rows - 1) * self.mlp
        return cost

    def entering(self, group: _Group) -> float:
        """Of one row: the node's own part of its layer."""
        shape, hook = self.shape, group.node.hook
        if hook not in HEAD_HOOKS:
            return 0.0
        width = shape.d_model // shape.n_heads if group.is_part else shape.d_model
        products = 2.0 if all(isinstance(metric, ATTENTION_METRICS) for metric in self.spec.all_metrics) else 4.0
        return products * shape.d_model * width + 4.0 * self.length * width

    def rows_of(self, sender: _Group, receiver: _Group) -> float:
        """Rows at which some metric sees the receiver change; below 1, the share of cells that have such a row."""
        one_row = self.sees_one_row(receiver.node)
        if sender.is_one_position or receiver.is_one_position:
            return 1.0 / self.length if one_row else 1.0
        return min(1.0, self.rows) if one_row else self.rows

    def seen_by(self, node: Node) -> list[Metric]:
        """The metrics that a change at the node can change; others are not computed again."""
        return [
            metric
            for metric in self.spec.all_metrics
            if not isinstance(metric, ATTENTION_METRICS)
            or changes_pattern(node, metric.head or Head(layer=node.layer or 0, head=node.head or 0))
        ]

    def sees_one_row(self, receiver: Node) -> bool:
        """Whether every metric sees the receiver at its own position only: a head's query, or the end of the stream."""
        if self.reads_loss:
            return False
        last_attention = 6 * (self.shape.n_layers - 1) + 1
        if receiver.hook == "q" and all(isinstance(metric, ATTENTION_METRICS) for metric in self.spec.all_metrics):
            return all(metric.head is None or metric.head.layer == receiver.layer
                       for metric in self.spec.all_metrics if isinstance(metric, ATTENTION_METRICS))  # fmt: skip
        return receiver.time > last_attention or (receiver.time == last_attention and receiver.hook == "q")

    def last_layer(self, metric: Metric, node: Node) -> int:
        """Up to which layer must be computed again: that of the metric's head, or all."""
        if not isinstance(metric, ATTENTION_METRICS):
            return self.shape.n_layers
        return metric.head.layer if metric.head else node.layer or 0

    def readout(self) -> float:
        """Unembedding of one example."""
        return sum(2.0 * self.shape.d_model * self.columns(metric) for metric in self.spec.all_metrics)

    def columns(self, metric: Metric) -> float:
        if not metric.reads_all_logits:
            return 2.0
        return self.shape.d_vocab * (self.length if isinstance(metric, Loss) else 1)

    def own_rows(self, group: _Group) -> float:
        """Rows that an activation patch changes: after one position on average half of the prompt."""
        return min(self.rows, (self.length + 1) / 2) if group.is_one_position else self.rows

    def groups(self, end: list[Node] | SweepOf) -> list[_Group]:
        """Cells of an end, by cost. Nodes patched together count as their first; a residual point as all before it."""
        if not isinstance(end, SweepOf):
            first = min(end, key=lambda node: node.time)
            return [_Group(first, 1, False, first.head is not None)]
        sweep, shape = end.sweep, self.shape
        layers = range(shape.n_layers) if sweep.layers == "all" else sweep.layers
        nodes = [Node(hook=hook, layer=layer) for hook in sweep.hooks for layer in layers]
        cells = cells_within(sweep.head_choice, shape.n_heads) * cells_within(sweep.neuron_choice, shape.d_mlp)
        is_part = any(choice not in (None, "joint") for choice in (sweep.head_choice, sweep.neuron_choice))
        if sweep.positions is not None:
            cells *= round(self.length) if sweep.positions == "each" else len(sweep.positions)
        return [_Group(node, cells, sweep.positions is not None, is_part) for node in nodes]


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
