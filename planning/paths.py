"""Paths of several hops: which edges they list, in the order in which a run can follow them.

A node of a path after its first is an input that changes by what the listed edges into it carry. Between two edges lies
the component that reads this input: a head, an MLP or one of its neurons, or a point of the residual stream.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from api_schemas.nodes import Node, SweepOf
from api_schemas.patches import PathNodes
from planning.architecture import Architecture
from planning.graph import Graph, Site, is_in_attention, is_in_mlp
from planning.plan import CellGroup, ReceiverGroup, plan_ends
from planning.prompts import Mask, Places, Reading, key_of

NodeKey = tuple[Site, str]


def node_key(node: Node) -> NodeKey:
    """Equal for nodes that are the same input at the same positions."""
    return Site.of(node), key_of(node.positions)


@dataclass(eq=False)
class Reader:
    """An input that listed edges lead into."""

    node: Node
    is_last: bool
    """Whether some path ends here, so that the run goes on live."""
    firsts: set[int] = field(default_factory=set)
    """Which of a cell's senders have an edge into it."""
    through: set[int] = field(default_factory=set)
    """Indices of readers whose component has an edge into it."""

    @property
    def site(self) -> Site:
        """The input."""
        return Site.of(self.node)


@dataclass(frozen=True, eq=False)
class Hops:
    """All edges of a patch's paths."""

    firsts: list[Node | SweepOf]
    """Distinct first nodes: the senders of a cell, in order."""
    readers: list[Reader]
    """In the order of a forward pass."""

    @property
    def last(self) -> list[Reader]:
        """Those that some path ends in."""
        return [reader for reader in self.readers if reader.is_last]


def hops_of(paths: Sequence[PathNodes], graph: Graph) -> Hops:
    """The edges of some paths; one that several paths have in common counts once.

    A node in which another path ends is followed no further: from there on the run is live.
    """
    ends = {node_key(node) for path in paths for node in path[-1:] if isinstance(node, Node)}
    firsts: list[Node | SweepOf] = []
    found: dict[NodeKey, Reader] = {}
    edges: list[tuple[NodeKey, NodeKey]] = []
    for path in paths:
        if path[0] not in firsts:
            firsts.append(path[0])
        before: NodeKey | None = None
        for node in followed(path, ends):
            key = node_key(node)
            found.setdefault(key, Reader(node, key in ends))
            if before is None:
                found[key].firsts.add(firsts.index(path[0]))
            else:
                edges.append((before, key))
            before = key
    keys = sorted(found, key=lambda key: graph.time_of(key[0]))
    for before, key in edges:
        found[key].through.add(keys.index(before))
    return Hops(firsts, [found[key] for key in keys])


def followed(path: PathNodes, ends: set[NodeKey]) -> Iterator[Node]:
    """The nodes after the first, up to one in which some path ends."""
    for node in path[1:]:
        assert isinstance(node, Node)
        yield node
        if node_key(node) in ends:
            return


def outputs_of(readers: Iterable[Reader], graph: Graph) -> list[Site]:
    """What the components behind some inputs write: single heads, neurons or whole MLPs, points of the stream."""
    found: dict[Site, None] = {}
    for reader in readers:
        site = reader.site
        if is_in_attention(site.hook):
            heads = graph.query_heads_of(site) or range(graph.architecture.n_heads)
            found |= dict.fromkeys(Site("z", site.layer, head) for head in heads)
        elif is_in_mlp(site.hook):
            found[Site("post", site.layer, neuron=site.neuron)] = None
        else:
            found[site] = None
    whole = {site.layer for site in found if site.hook == "post" and site.neuron is None}
    return [site for site in found if site.hook != "post" or site.neuron is None or site.layer not in whole]


@dataclass(frozen=True, eq=False)
class PathsPlan:
    """What is computed for the paths of a patch."""

    hops: Hops
    senders: list[CellGroup]
    """Sender cells that share positions."""
    last: ReceiverGroup | None
    """The inputs that paths end in, as one cell; None if no metric can see them."""
    places: Places
    rows: Mask
    """Where anything can differ from orig."""

    @property
    def last_readers(self) -> list[int]:
        """Indices of the readers of ``last``, in its order."""
        return [index for index, reader in enumerate(self.hops.readers) if reader.is_last]


def plan_paths(
    paths: Sequence[PathNodes], cells: Sequence[Sequence[Node]], places: Places, readings: Sequence[Reading]
) -> PathsPlan:
    """The plan of some sender cells."""
    hops = hops_of(paths, places.graph)
    ends = [reader.node for reader in hops.readers if reader.is_last]
    senders, last = plan_ends(cells, ends, places, readings)
    return PathsPlan(hops, senders, last, places, places.changeable)


def outputs_before(reader: Reader, hops: Hops, architecture: Architecture) -> list[Site]:
    """What components of earlier nodes write into an input."""
    return outputs_of([hops.readers[index] for index in sorted(reader.through)], Graph(architecture))


def wanted_by_paths(hops: Hops, graph: Graph) -> frozenset[tuple[str, int]]:
    """Activations worth keeping while the two runs pass: what the components on the way read and write."""
    wanted: set[tuple[str, int]] = set()
    for reader in hops.readers:
        wanted.add(graph.input_of(reader.site))
        if is_in_attention(reader.site.hook):
            wanted |= {(hook, reader.site.layer or 0) for hook in ("k", "v", "z")}
    return frozenset(wanted)
