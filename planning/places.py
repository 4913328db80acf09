"""Where the nodes of a patch take part: token positions of a dataset's examples, and which nodes share some.

An edge joins two nodes at one position: only attention moves anything between positions, and in path patching all
attention is orig's. So a sender reaches a receiver if it comes before it, and both take part at a common position.
"""

from collections.abc import Iterator, Sequence

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelShape
from api_schemas.nodes import Node, PositionRef, Positions, clashes, overlaps
from api_schemas.spec import ActivationPatch, PathPatch
from planning.grid import grid_of, kinds_of_node

Place = tuple[int, int]
"""An example, as an index into the dataset, and a position in its prompt."""


class Places:
    """The places of a patch's nodes: of the patch's own positions, those that a node names too."""

    def __init__(self, positions: Positions | None, dataset: ResolvedDataset) -> None:
        self._dataset = dataset
        self._patched = None if positions is None else self._resolved(positions)
        self._known: dict[str, frozenset[int]] = {}
        self._shared: dict[tuple[str, str], frozenset[int]] = {}

    def of(self, node: Node) -> frozenset[int]:
        """Where a node takes part, each place as one number."""
        key = str(node.positions)
        if key not in self._known:
            own = self._resolved(node.positions)
            self._known[key] = own if self._patched is None else own & self._patched
        return self._known[key]

    def examples_of(self, node: Node) -> frozenset[int]:
        """Examples in which a node takes part."""
        return self.examples_shared(node, node)

    def examples_shared(self, first: Node, second: Node) -> frozenset[int]:
        """Examples in which both nodes take part at one position."""
        a, b = first.positions, second.positions
        if isinstance(a, int) and isinstance(b, int) and a != b:
            return frozenset()
        key = (str(a), str(b))
        if key not in self._shared:
            width = self._dataset.longest
            self._shared[key] = frozenset(place // width for place in self.of(first) & self.of(second))
        return self._shared[key]

    def reaches(self, sender: Node, receiver: Node) -> bool:
        """Whether an edge leads from the sender to the receiver in some example."""
        return sender.time < receiver.time and bool(self.examples_shared(sender, receiver))

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


def reached(senders: Sequence[Node], receivers: Sequence[Node], places: Places) -> list[bool]:
    """For each sender, whether it reaches any of the receivers."""
    latest: dict[str, Node] = {}
    for receiver in sorted(receivers, key=lambda node: node.time):
        latest[str(receiver.positions)] = receiver
    known: dict[tuple[int, str], bool] = {}
    for sender in senders:
        kind = (sender.time, str(sender.positions))
        if kind not in known:
            known[kind] = any(places.reaches(sender, receiver) for receiver in latest.values())
    return [known[sender.time, str(sender.positions)] for sender in senders]


def unreachable_senders(patch: PathPatch | ActivationPatch, shape: ModelShape, dataset: ResolvedDataset) -> list[Node]:
    """Senders from which no edge leads to any receiver of the patch."""
    if isinstance(patch, ActivationPatch):
        return []
    longest, places = dataset.longest, Places(patch.positions, dataset)
    receivers = kinds_of_node(patch.receivers, shape, longest)
    if all(reached(kinds_of_node(patch.senders, shape, longest), receivers, places)):
        return []
    senders = [node for cell in grid_of(patch, shape, longest).senders.cells for node in cell]
    return [
        node for node, is_reached in zip(senders, reached(senders, receivers, places), strict=True) if not is_reached
    ]
