"""Which senders of a patch have a path to a receiver, and in which examples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node
from api_schemas.patches import PathNodes
from api_schemas.spec import AnyPatch, PathPatch
from planning.architecture import Architecture
from planning.graph import Graph
from planning.grid import grid_of, kinds_of_node
from planning.positions import Places, key_of, reached

Bools = NDArray[np.bool_]


def unreachable_senders(patch: AnyPatch, architecture: Architecture, dataset: ResolvedDataset) -> list[Node]:
    """Senders from which no edge leads to any receiver of the patch."""
    if not isinstance(patch, PathPatch):
        return []
    longest, places = dataset.longest, Places(patch.positions, dataset, Graph(architecture))
    if patch.paths is None:
        receivers = kinds_of_node(patch.ends, architecture, longest)
        if all(reached(kinds_of_node(patch.starts, architecture, longest), receivers, places)):
            return []
    cells = grid_of(patch, architecture, longest).senders.cells
    senders = [node for cell in cells for node in cell]
    if patch.paths is None:
        is_reached = reached(senders, receivers, places)
    else:
        is_reached = [bool(own.any()) for cell in arrivals(patch.paths, cells, places) for own in cell]
    return [node for node, arrives in zip(senders, is_reached, strict=True) if not arrives]


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
