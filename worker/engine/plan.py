"""What has to be computed: from senders, receivers, positions and metrics to groups of cells and the rows they need.

Nothing here touches a tensor. A row is needed if some sender changes it, some receiver reads it, and some metric can
see what the receiver does with it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import ATTENTION_METRICS, Attention, AttentionDiff, Metric
from api_schemas.nodes import EMBEDDING_HOOKS, Node, Positions
from planning.grid import Grid
from worker.engine.metrics import read_mask
from worker.engine.positions import Mask, after_first_difference, mask_of, one_position, real_tokens, span, up_to
from worker.engine.senders import STAGES_PER_LAYER, first_time

AT_QUERY, UP_TO_QUERY = "at_query", "up_to_query"
"""Which rows of a change reach the place where a metric is read: that one only, or all before it too."""
Cell = list[Node]


def layer_of(node: Node) -> int:
    """The layer in whose computation a node takes part; the last residual stream belongs to layer ``n_layers``."""
    return max(node.time, 0) // STAGES_PER_LAYER


@dataclass(frozen=True)
class CellGroup:
    """Cells whose nodes are alike but for head, neuron or (of senders) layer, at the same positions."""

    places: list[int]
    cells: list[Cell]

    @property
    def times(self) -> list[int]:
        return sorted({node.time for node in self.cells[0]})

    def part(self, start: int, stop: int) -> "CellGroup":
        return CellGroup(self.places[start:stop], self.cells[start:stop])


def sender_groups(cells: Sequence[Cell]) -> list[CellGroup]:
    """Cells that share positions, in the order in which they begin to differ from orig."""
    grouped: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, cell in enumerate(cells):
        grouped[tuple(str(node.positions) for node in cell)].append(place)
    groups = []
    for places in grouped.values():
        places = sorted(places, key=lambda place: first_time(cells[place]))
        groups.append(CellGroup(places, [cells[place] for place in places]))
    return groups


def receiver_groups(cells: Sequence[Cell]) -> list[list[CellGroup]]:
    """Cells that run together, and those that share positions in one list."""
    grouped: dict[tuple[str, ...], dict[tuple[object, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, cell in enumerate(cells):
        alike = tuple((node.hook, node.layer, node.head is None, node.neuron is None) for node in cell)
        grouped[tuple(str(node.positions) for node in cell)][alike].append(place)
    return [
        [CellGroup(places, [cells[place] for place in places]) for places in groups.values()]
        for groups in grouped.values()
    ]


@dataclass(frozen=True)
class Where:
    """Where a patch and its metrics look, as masks over the positions of some examples."""

    dataset: ResolvedDataset
    positions: Positions | None
    metrics: list[Metric]
    n_layers: int
    is_activation_patch: bool
    source_is_new: bool
    """Whether patched values come from the new run, which is orig's up to the first token that differs."""

    @cached_property
    def patchable(self) -> Mask:
        """Positions of the patch at which its source can differ from orig."""
        mask = mask_of(self.positions, self.dataset)
        return mask & after_first_difference(self.dataset) if self.source_is_new else mask

    def of(self, node: Node) -> Mask:
        """Positions at which a node is patched."""
        return self.patchable & mask_of(node.positions, self.dataset)

    def visible(self, cell: Cell, node: Node) -> Mask:
        """Positions of a node from which some metric can be reached."""
        mask = np.zeros_like(real_tokens(self.dataset))
        for metric in self.metrics:
            if isinstance(metric, Attention | AttentionDiff):
                reach = self.reach_of_attention(node, *attended_head(metric, cell))
                read = one_position(metric.query, self.dataset)
            else:
                reach, read = self.reach_of_logits(node), read_mask([metric], self.dataset)
            if reach is not None:
                mask |= read if reach == AT_QUERY else up_to(read)
        return mask

    def reach_of_logits(self, node: Node) -> str:
        """Which rows of a node reach the logits at a position: after the last attention, that position alone."""
        last_attention = (self.n_layers - 1) * STAGES_PER_LAYER + 1
        if node.time > last_attention:
            return AT_QUERY
        queries = ("q", "pattern") if self.is_activation_patch else ("q",)
        return AT_QUERY if node.time == last_attention and node.hook in queries else UP_TO_QUERY

    def reach_of_attention(self, node: Node, layer: int, head: int) -> str | None:
        """Which rows of a node reach the attention of a head at a query; None if none do."""
        if node.hook in EMBEDDING_HOOKS or layer_of(node) < layer:
            return UP_TO_QUERY
        if layer_of(node) > layer:
            return None
        if node.hook in ("resid_pre", "resid_post"):
            return UP_TO_QUERY
        if node.head not in (None, head):
            return None
        if node.hook == "pattern" and self.is_activation_patch:
            return AT_QUERY
        return {"q": AT_QUERY, "k": UP_TO_QUERY, "pattern": UP_TO_QUERY}.get(node.hook)

    def needed(self, senders: CellGroup | None, receivers: CellGroup) -> Mask:
        """Positions at which a group's receivers change in a way that can be seen."""
        mask = np.zeros_like(real_tokens(self.dataset))
        for cell in receivers.cells:
            for node in cell:
                mask |= self.of(node) & self.visible(cell, node)
        if senders is not None:
            mask &= np.logical_or.reduce([self.of(node) for node in senders.cells[0]])
        return mask

    def computed(self, needed: Mask, receivers: CellGroup) -> Mask:
        """Positions that the final run recomputes: where attention spreads the change, all from the first on."""
        reads = [read_mask(self.metrics, self.dataset)]
        queries = [metric.query for metric in self.metrics if isinstance(metric, Attention | AttentionDiff)]
        reads += [one_position(query, self.dataset) for query in queries]
        if not queries and all(self.reach_of_logits(node) == AT_QUERY for node in receivers.cells[0]):
            return needed
        return span(needed, np.logical_or.reduce(reads))

    def is_direct(self, receivers: CellGroup) -> bool:
        """Whether every metric is the attention of the head whose query or key is the one receiver."""
        if self.is_activation_patch or len(receivers.cells[0]) > 1:
            return False
        for cell in receivers.cells:
            for metric in self.metrics:
                if not isinstance(metric, Attention | AttentionDiff):
                    return False
                layer, head = attended_head(metric, cell)
                reach = self.reach_of_attention(cell[0], layer, head)
                if reach is not None and (layer_of(cell[0]) != layer or cell[0].hook in ("resid_pre", "resid_post")):
                    return False
        return True


def attended_head(metric: Attention | AttentionDiff, cell: Cell) -> tuple[int, int]:
    """The head that an attention metric reads: the one it names, or the cell's own receiver."""
    if metric.head is not None:
        return metric.head.layer, metric.head.head
    assert cell[0].layer is not None
    assert cell[0].head is not None
    return cell[0].layer, cell[0].head


def depends_on_cell(metric: Metric) -> bool:
    """Whether orig's value differs from cell to cell."""
    return isinstance(metric, ATTENTION_METRICS) and metric.head is None


def deepest_layer(metrics: Sequence[Metric], cells: Sequence[Cell], n_layers: int) -> int:
    """The layer at whose beginning the last metric can be read; ``n_layers`` for logits."""
    if not all(isinstance(metric, ATTENTION_METRICS) for metric in metrics):
        return n_layers
    return max(
        attended_head(metric, cell)[0] for metric in metrics if isinstance(metric, ATTENTION_METRICS) for cell in cells
    )


def wanted_activations(
    grid: Grid, metrics: Sequence[Metric], through_mlps: bool, n_layers: int
) -> frozenset[tuple[str, int]]:
    """Activations worth keeping while the two runs pass; whatever else is asked for is recomputed."""
    receiver_cells = (grid.receivers or grid.senders).cells
    senders = [node for cell in grid.senders.cells for node in cell]
    receivers = [node for cell in receiver_cells for node in cell]
    deepest = deepest_layer(metrics, receiver_cells, n_layers)
    first = min(layer_of(node) for node in receivers)
    wanted = {("resid_pre", deepest)}
    for node in senders:
        if node.layer is not None:
            wanted.add(("resid_pre", node.layer + 1) if node.hook == "resid_post" else (node.hook, node.layer))
    for node in receivers:
        wanted.add(("resid_mid" if node.hook in ("pre", "resid_mid") else "resid_pre", layer_of(node)))
    if through_mlps:
        begin = min(layer_of(node) for node in senders)
        end = max(layer_of(node) for node in receivers)
        wanted |= {("resid_mid", layer) for layer in range(begin, end)}
        wanted |= {("resid_pre", layer + 1) for layer in range(begin, end)}
    for layer in range(first, min(deepest, n_layers)):
        wanted |= {(hook, layer) for hook in ("k", "v", "z", "resid_pre", "resid_mid")}
    return frozenset(wanted)
