"""The plan of a patch: which cells run together, and which rows of the residual stream are computed for them.

A row is needed if some sender changes it, some receiver reads it, and some metric can see what the receiver does with
it. Workers execute a plan, and ``planning.cost`` prices the same plan.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

import numpy as np

from api_schemas.nodes import Node
from planning.graph import (
    Graph,
    Reach,
    Site,
    layer_of,
    mlp_at,
)
from planning.grid import Grid
from planning.prompts import (
    LogitReading,
    Mask,
    Places,
    Reading,
    attended_head,
    deepest_layer,
    key_of,
    span,
    up_to,
)


@dataclass(frozen=True, eq=False)
class CellGroup:
    """Cells whose sites are alike but for head, neuron or (of senders) layer, at the same positions."""

    cells: list[int]
    """Indices into all cells of that end of the patch."""
    sites: list[list[Site]]
    """Of each cell."""
    masks: list[Mask]
    """Where the first, second, ... site of each cell takes part, and its source can differ from orig."""
    first_times: list[int]
    """When each cell's run begins to differ from orig."""
    graph: Graph

    def part(self, start: int, stop: int) -> Self:
        """Some of the cells."""
        some = slice(start, stop)
        return replace(self, cells=self.cells[some], sites=self.sites[some], first_times=self.first_times[some])


@dataclass(frozen=True, eq=False)
class ReceiverGroup(CellGroup):
    """Receivers (or the nodes of an activation patch) that run together."""

    needed: Mask
    """Where they change in a way that some metric can see."""
    times: list[int]
    """When the sites of a cell come in a forward pass, ascending; equal for all cells."""
    computed: Mask
    """Rows of the final run: where attention spreads the change, all from the first needed one on."""
    last_layer: int
    """The layer at whose beginning the last metric is read; ``n_layers`` for logits."""
    own_heads: list[dict[int, int]] | None
    """Where each receiver is an input of the head that a metric reads, or cannot change it, there is no final run: for
    each metric, the cells whose receiver is such an input, each with that head. None otherwise."""

    def met_by(self, n_begun: Sequence[int]) -> Iterator[tuple[slice, Self]]:
        """Sender cells, with the receivers that come after they have begun to differ from orig.

        Args:
            n_begun: At each of ``times``, how many have begun; these are always the first ones.
        """
        for place, (before, after) in enumerate(pairwise([0, *n_begun])):
            if before < after:
                yield slice(before, after), self if place == 0 else self._from(self.times[place:])

    def _from(self, times: list[int]) -> Self:
        """The later receivers alone."""
        slots = [slot for slot, site in enumerate(self.sites[0]) if self.graph.time_of(site) in times]
        sites = [[own[slot] for slot in slots] for own in self.sites]
        return replace(self, sites=sites, masks=[self.masks[slot] for slot in slots], times=times)


@dataclass(frozen=True, eq=False)
class Pass:
    """Senders whose changes are carried along the residual stream together, and the receivers that they meet."""

    senders: CellGroup
    """Those that come before the last receiver, in the order in which they begin to differ from orig."""
    receivers: list[ReceiverGroup]
    rows: Mask
    """Rows that some of the receivers need."""
    times: list[int]
    """When receivers are met, ascending."""


def plan_path_patch(grid: Grid, places: Places, readings: Sequence[Reading]) -> list[Pass]:
    """The passes of a path patch; cells that no change reaches are in none."""
    assert grid.receivers is not None
    passes = []
    receivers = _groups(grid.receivers.cells, places, are_receivers=True)
    for (senders,) in _groups(grid.senders.cells, places, are_receivers=False):
        sent = np.logical_or.reduce(senders.masks)
        for together in receivers:
            seen = (seen_receivers(alike, places, readings, sent, is_input=True) for alike in together)
            met = [group for group in seen if group is not None]
            times = sorted({time for group in met for time in group.times})
            n_senders = sum(first < times[-1] for first in senders.first_times) if met else 0
            if n_senders:
                rows = np.logical_or.reduce([group.needed for group in met])
                passes.append(Pass(senders.part(0, n_senders), met, rows, times))
    return passes


def plan_ends(
    cells: Sequence[Sequence[Node]], ends: list[Node], places: Places, readings: Sequence[Reading]
) -> tuple[list[CellGroup], ReceiverGroup | None]:
    """Sender cells that share positions, and the inputs that paths end in, as one cell that any metric can see."""
    ((last,),) = _groups([ends], places, are_receivers=True)
    senders = [group for (group,) in _groups(cells, places, are_receivers=False)]
    return senders, seen_receivers(last, places, readings, None, is_input=True)


def plan_activation_patch(grid: Grid, places: Places, readings: Sequence[Reading]) -> list[ReceiverGroup]:
    """The groups of cells of an activation patch; cells that no metric can see are in none."""
    groups = [group for together in _groups(grid.senders.cells, places, are_receivers=True) for group in together]
    seen = (seen_receivers(group, places, readings, None, is_input=False) for group in groups)
    return [group for group in seen if group is not None]


@dataclass(frozen=True, eq=False)
class Ends:
    """Both ends of a path patch in groups of cells that share positions: attribution has no rows to save."""

    senders: list[CellGroup]
    receivers: list[list[CellGroup]]
    n_senders: int
    """Sender cells of the grid."""
    n_receivers: int
    real: Mask
    """True where a prompt has a token."""


def plan_attribution(grid: Grid, places: Places) -> Ends:
    """The cells of an attribution."""
    assert grid.receivers is not None
    senders, receivers = grid.senders.cells, grid.receivers.cells
    sender_groups = [group for (group,) in _groups(senders, places, are_receivers=False)]
    receiver_groups = _groups(receivers, places, are_receivers=True)
    return Ends(sender_groups, receiver_groups, len(senders), len(receivers), places.real)


def _groups(cells: Sequence[Sequence[Node]], places: Places, are_receivers: bool) -> list[list[CellGroup]]:
    """Cells that share positions in one list: senders as one group, receivers as groups of alike sites.

    The senders of a group are in the order in which they begin to differ from orig.
    """
    grouped: dict[tuple[str, ...], dict[tuple[object, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, cell in enumerate(cells):
        kinds = [(node.hook, node.layer, node.head is None, node.neuron is None) for node in cell]
        alike = tuple(kinds) if are_receivers else ()
        grouped[tuple(key_of(node.positions) for node in cell)][alike].append(index)
    found: list[list[CellGroup]] = []
    for groups in grouped.values():
        found.append([])
        for members in groups.values():
            firsts = {index: min(map(places.graph.time_of, cells[index])) for index in members}
            if not are_receivers:
                members.sort(key=firsts.__getitem__)
            sites = [[Site.of(node) for node in cells[index]] for index in members]
            masks = [places.of(node.positions) for node in cells[members[0]]]
            found[-1].append(CellGroup(members, sites, masks, [firsts[index] for index in members], places.graph))
    return found


def seen_receivers(
    group: CellGroup, places: Places, readings: Sequence[Reading], sent: Mask | None, is_input: bool
) -> ReceiverGroup | None:
    """The group with the rows that it needs for what some metric can see; None if it needs none.

    Args:
        sent: Where senders change something; None: everywhere.
        is_input: Whether what the nodes read changes (path patching), or their own value (activation patching).
    """
    graph, n_layers = places.graph, places.graph.architecture.n_layers
    needed, own_heads = _seen(group, places, readings, is_input)
    if sent is not None:
        needed = needed & sent
    if not needed.any():
        return None
    computed, reads_logits = needed, all(isinstance(reading, LogitReading) for reading in readings)
    reaches = (graph.reach_of_logits(site, is_input) for site in group.sites[0])
    if not reads_logits or any(reach is not Reach.AT_POSITION for reach in reaches):
        computed = span(needed, np.logical_or.reduce([reading.at for reading in readings]))
    last_layer = deepest_layer(readings, group.sites, n_layers)
    times = sorted({graph.time_of(site) for site in group.sites[0]})
    known = (group.cells, group.sites, group.masks, group.first_times, graph)
    return ReceiverGroup(*known, needed, times, computed, last_layer, own_heads)


def _seen(
    group: CellGroup, places: Places, readings: Sequence[Reading], is_input: bool
) -> tuple[Mask, list[dict[int, int]] | None]:
    """Where the sites change in a way that some metric can see; and ``ReceiverGroup.own_heads``."""
    graph, needed = places.graph, np.zeros_like(places.real)
    own: list[dict[int, int]] = [{} for _ in readings]
    is_own = is_input and len(group.masks) == 1
    for slot, mask in enumerate(group.masks):
        for reading, own_heads in zip(readings, own, strict=True):
            seen = set()
            for cell, sites in enumerate(group.sites):
                site = sites[slot]
                if isinstance(reading, LogitReading):
                    reach, is_own = graph.reach_of_logits(site, is_input), False
                else:
                    layer, head = attended_head(reading, sites)
                    reach = graph.reach_of_attention(site, layer, head, is_input)
                    if reach is not Reach.NONE:
                        is_own = is_own and site.layer == layer and site.hook != "resid_pre"
                        own_heads[cell] = head
                seen.add(reach)
            if Reach.AT_POSITION in seen:
                needed |= mask & reading.at
            if Reach.UP_TO_POSITION in seen:
                needed |= mask & up_to(reading.at)
    return needed, own if is_own else None


def wanted_activations(
    grid: Grid, readings: Sequence[Reading], through_mlps: bool, graph: Graph
) -> frozenset[tuple[str, int]]:
    """Activations worth keeping while the two runs pass, by hook and layer; whatever else is asked for is recomputed.

    ``resid_pre`` of layer ``n_layers`` is the last residual stream.
    """
    n_layers, is_parallel = graph.architecture.n_layers, graph.architecture.is_parallel
    receiver_cells = (grid.receivers or grid.senders).cells
    senders = [Site.of(node) for cell in grid.senders.cells for node in cell]
    receivers = [Site.of(node) for cell in receiver_cells for node in cell]
    deepest = deepest_layer(readings, receiver_cells, n_layers)
    wanted = {("resid_pre", deepest)}
    for site in senders:
        if site.layer is not None:
            wanted.add((site.hook, site.layer))
    wanted |= {graph.input_of(site) for site in receivers}
    if through_mlps:
        first, last = min(map(graph.time_of, senders)), max(map(graph.time_of, receivers))
        mlps = [layer for time in range(first, last) if (layer := mlp_at(time)) is not None]
        if is_parallel:
            wanted |= {point for layer in mlps for point in (("resid_pre", layer), ("mlp_out", layer))}
        else:
            wanted |= {point for layer in mlps for point in (("resid_mid", layer), ("resid_pre", layer + 1))}
    keys = "rot_k" if graph.architecture.has_positioned_keys else "k"
    attended = {keys, "v", "z", "resid_pre"} | (set() if is_parallel else {"resid_mid"})
    for layer in range(min(map(layer_of, receivers)), min(deepest, n_layers)):
        wanted |= {(hook, layer) for hook in attended}
    return frozenset(wanted)
