"""Where the nodes of a patch take part: token positions of a dataset's examples, and which nodes share some."""

from collections.abc import Iterator, Sequence

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node, PositionRef, Positions, clashes, overlaps

Place = tuple[int, int]
"""An example, as an index into the dataset, and a position in its prompt."""


class Places:
    """The places of a patch's nodes: of the patch's own positions, those that a node names too."""

    def __init__(self, positions: Positions | None, dataset: ResolvedDataset) -> None:
        self._dataset = dataset
        self._patched = None if positions is None else self._resolved(positions)
        self._known: dict[str, frozenset[int]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def of(self, node: Node) -> frozenset[int]:
        """Where a node takes part, each place as one number."""
        key = str(node.positions)
        if key not in self._known:
            own = self._resolved(node.positions)
            self._known[key] = own if self._patched is None else own & self._patched
        return self._known[key]

    def examples_shared(self, first: Node, second: Node) -> int:
        """In how many examples both nodes take part at one position."""
        a, b = first.positions, second.positions
        if isinstance(a, int) and isinstance(b, int) and a != b:
            return 0
        key = (str(a), str(b))
        if key not in self._counts:
            shared = self.of(first) & self.of(second)
            self._counts[key] = len({place // self._dataset.longest for place in shared})
        return self._counts[key]

    def first_shared(self, first: Node, second: Node) -> Place | None:
        """The first place at which both nodes take part."""
        a, b = first.positions, second.positions
        if isinstance(a, int) and isinstance(b, int) and a != b:
            return None
        shared = self.of(first) & self.of(second)
        return divmod(min(shared), self._dataset.longest) if shared else None

    def _resolved(self, positions: Positions | None) -> frozenset[int]:
        width, prompts = self._dataset.longest, self._dataset.orig
        if positions is None:
            pairs = ((row, place) for row, prompt in enumerate(prompts) for place in range(len(prompt)))
        elif isinstance(positions, list) and positions and isinstance(positions[0], list):
            own = positions[self._dataset.start : self._dataset.start + len(prompts)]
            pairs = ((row, place) for row, places in enumerate(own) if isinstance(places, list) for place in places)
        else:
            refs = positions if isinstance(positions, list) else [positions]
            pairs = (pair for ref in refs if not isinstance(ref, list) for pair in self._pairs(ref))
        return frozenset(row * width + place for row, place in pairs)

    def _pairs(self, ref: PositionRef) -> Iterator[Place]:
        if isinstance(ref, str):
            return enumerate(self._dataset.roles[ref])
        return ((row, ref) for row, prompt in enumerate(self._dataset.orig) if ref < len(prompt))


def twice_counted(nodes: Sequence[Node], places: Places, are_senders: bool) -> Iterator[tuple[Node, Node, int, Place]]:
    """Pairs of nodes (earlier, later, the later one's index) that have an edge in common, and where; one per node.

    Args:
        are_senders: A residual point as a sender replaces all that was written before it.
    """
    found: set[int] = set()
    for earlier, later in (overlaps if are_senders else clashes)(nodes):
        if later not in found and (place := places.first_shared(nodes[earlier], nodes[later])):
            found.add(later)
            yield nodes[earlier], nodes[later], later, place
