"""Which senders of a patch have a path to a receiver, and in which examples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api_schemas.nodes import Node
from api_schemas.patches import PathNodes
from api_schemas.spec import AnyPatch, PathPatch
from planning.grid import Grid, grid_of, kinds_of_node
from planning.prompts import Places, key_of

Bools = NDArray[np.bool_]
Counts = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class PathCounts:
    """How far the senders of a grid reach, in some examples: the counts of several parts add up."""

    by_cell: Counts
    """(sender cell, receiver cell): in how many examples the cell has a path at all."""
    by_sender: Counts
    """Of each sender, in how many examples it reaches any receiver."""


def path_counts(grid: Grid, places: Places, paths: Sequence[PathNodes] | None = None) -> PathCounts:
    """Where the cells of a grid have a path; of an activation patch, where any node takes part."""
    cells, sizes = grid.senders.cells, grid.sizes
    senders = [[node] for cell in cells for node in cell]
    if paths is not None:
        arrived = arrivals(paths, cells, places)
        by_sender = np.array([own.sum() for cell in arrived for own in cell], dtype=np.int32)
        by_cell = np.array([np.logical_or.reduce(cell).sum() for cell in arrived], dtype=np.int32)
        return PathCounts(by_cell.reshape(sizes), by_sender)
    if grid.receivers is None:
        parts = [[places.examples_shared(node, node) for node in cell] for cell in cells]
        by_cell = np.array([len(frozenset().union(*part)) for part in parts], dtype=np.int32)
        return PathCounts(by_cell.reshape(sizes), np.full(1, len(places.real), dtype=np.int32))
    receivers = [node for cell in grid.receivers.cells for node in cell]
    by_sender = examples_with_path(senders, [receivers], places)[:, 0]
    return PathCounts(examples_with_path(cells, grid.receivers.cells, places), by_sender)


def examples_with_path(
    sender_cells: Sequence[Sequence[Node]], receiver_cells: Sequence[Sequence[Node]], places: Places
) -> Counts:
    """(sender cell, receiver cell): in how many examples any of its senders reaches any of its receivers."""
    time_of = places.graph.time_of
    senders, sender_kinds = _kinds(sender_cells, places, min)
    receivers, receiver_kinds = _kinds(receiver_cells, places, max)
    counts = np.zeros((len(senders), len(receivers)), dtype=np.int32)
    for row, own in enumerate(senders):
        for column, others in enumerate(receivers):
            edges = [(one, other) for one in own for other in others if time_of(one) < time_of(other)]
            counts[row, column] = len(frozenset().union(*(places.examples_shared(*edge) for edge in edges)))
    return counts[sender_kinds][:, receiver_kinds]


def _kinds(
    cells: Sequence[Sequence[Node]], places: Places, furthest: Callable[..., Node]
) -> tuple[list[list[Node]], list[int]]:
    """One cell of each kind, and for every cell which kind it is.

    Of nodes at the same positions the first sender, or the last receiver, stands for all.
    """
    time_of = places.graph.time_of
    known: dict[object, int] = {}
    kinds: list[list[Node]] = []
    kind_of_cell = []
    for cell in cells:
        chosen: dict[str, Node] = {}
        for node in cell:
            key = key_of(node.positions)
            chosen[key] = furthest(chosen.get(key, node), node, key=time_of)
        kind = known.setdefault(tuple((key, time_of(node)) for key, node in chosen.items()), len(kinds))
        if kind == len(kinds):
            kinds.append(list(chosen.values()))
        kind_of_cell.append(kind)
    return kinds, kind_of_cell


def unreachable_senders(patch: AnyPatch, places: Places) -> list[Node]:
    """Senders from which no edge leads to any receiver of the patch."""
    if not isinstance(patch, PathPatch):
        return []
    longest, architecture = places.dataset.longest, places.graph.architecture
    if patch.paths is None:
        starts, ends = (kinds_of_node(nodes, architecture, longest) for nodes in (patch.starts, patch.ends))
        is_everywhere = patch.positions is None and all(node.positions is None for node in (*starts, *ends))
        if is_everywhere and all(places.graph.reaches(start, ends) for start in starts):
            return []  # in every example, as all nodes take part there
        if examples_with_path([[start] for start in starts], [ends], places).all():
            return []
    grid = grid_of(patch, architecture, longest)
    counts = path_counts(grid, places, patch.paths).by_sender
    senders = (node for cell in grid.senders.cells for node in cell)
    return [node for node, count in zip(senders, counts, strict=True) if not count]


def arrivals(paths: Sequence[PathNodes], cells: Sequence[Sequence[Node]], places: Places) -> list[list[Bools]]:
    """Per cell and first node, in which examples some path leads from it to its end."""
    firsts: list[object] = []
    for path in paths:
        if path[0] not in firsts:
            firsts.append(path[0])
    slots = [firsts.index(path[0]) for path in paths]
    known: dict[tuple[int, str, int], Bools] = {}

    def of(slot: int, node: Node) -> Bools:
        key = (places.graph.time_of(node), key_of(node.positions), slot)
        if key not in known:
            own = [path[1:] for path, other in zip(paths, slots, strict=True) if other == slot]
            rests = [[one for one in rest if isinstance(one, Node)] for rest in own]
            known[key] = np.asarray(np.array([_leads(node, rest, places) for rest in rests]).any(axis=0), dtype=bool)
        return known[key]

    return [[of(slot, node) for slot, node in enumerate(cell)] for cell in cells]


def _leads(first: Node, rest: Sequence[Node], places: Places) -> Bools:
    """In which examples a path has a place for every hop: attention carries a change to later positions."""
    mask = places.of(first.positions)
    if not places.graph.reaches(first, rest[:1]):
        mask = np.zeros_like(mask)
    for node in rest:
        mask = mask & places.of(node.positions)
        if node.hook in ("k", "v", "pattern"):
            mask = np.logical_or.accumulate(mask, axis=1)
    return np.asarray(mask.any(axis=1), dtype=bool)
