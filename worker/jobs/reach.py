"""Which cells of a grid have a path at all, and in how many examples: shards count theirs, and the counts add up."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from api_schemas.nodes import Node
from api_schemas.patches import PathNodes
from planning.grid import Grid
from planning.positions import Places, key_of, reached
from planning.reach import arrivals

Kind = tuple[tuple[int, str], ...]
"""What decides where a cell's nodes reach: time and positions of each."""


def reached_senders(grid: Grid, places: Places, paths: Sequence[PathNodes] | None = None) -> NDArray[np.int32]:
    """Which senders reach a receiver in some example."""
    if paths is not None:
        cells = arrivals(paths, grid.senders.cells, places)
        return np.array([own.any() for cell in cells for own in cell], dtype=np.int32)
    senders = [node for cell in grid.senders.cells for node in cell]
    if grid.receivers is None:
        return np.ones(1, dtype=np.int32)
    receivers = [node for cell in grid.receivers.cells for node in cell]
    return np.array(reached(senders, receivers, places), dtype=np.int32)


def examples_with_path(grid: Grid, places: Places, paths: Sequence[PathNodes] | None = None) -> NDArray[np.int32]:
    """Per cell, in how many examples any sender reaches any receiver; of an activation patch, has any node a place."""
    if paths is not None:
        cells = arrivals(paths, grid.senders.cells, places)
        return np.array([np.logical_or.reduce(cell).sum() for cell in cells], dtype=np.int32)
    kinds, sender_places = _kinds(grid.senders.cells, places)
    if grid.receivers is None:
        counts = [len(frozenset().union(*map(places.examples_of, cell))) for cell in kinds]
        return np.array(counts, dtype=np.int32)[sender_places]
    receiver_kinds, receiver_places = _kinds(grid.receivers.cells, places)
    table = [[_examples(senders, receivers, places) for receivers in receiver_kinds] for senders in kinds]
    found: NDArray[np.int32] = np.array(table, dtype=np.int32)[sender_places][:, receiver_places].ravel()
    return found


def _kinds(cells: Sequence[list[Node]], at: Places) -> tuple[list[list[Node]], list[int]]:
    """One cell of each kind, and for every cell which kind it is."""
    known: dict[Kind, int] = {}
    kinds: list[list[Node]] = []
    places = []
    for cell in cells:
        kind = tuple((at.graph.time_of(node), key_of(node.positions)) for node in cell)
        if kind not in known:
            known[kind] = len(kinds)
            kinds.append(cell)
        places.append(known[kind])
    return kinds, places


def _examples(senders: list[Node], receivers: list[Node], places: Places) -> int:
    pairs = ((sender, receiver) for sender in senders for receiver in receivers if places.reaches(sender, receiver))
    return len(frozenset().union(*(places.examples_shared(sender, receiver) for sender, receiver in pairs)))
