"""Whether paths of several hops fit a model: every hop leads on, and no edge is counted twice."""

from collections.abc import Iterator, Sequence
from itertools import islice

from api_schemas.errors import FieldError
from api_schemas.nodes import Node, SweepOf
from api_schemas.patches import PathNodes, PathPatch
from api_schemas.wording.values import wrong
from planning.graph import Graph, Site, is_in_attention, is_in_mlp
from planning.grid import grid_of
from planning.paths import Reader, hops_of, outputs_before
from planning.prompts import Places, twice_counted
from service.datasets.draft import MOST_PER_KIND

Path = tuple[str | int, ...]


def hop_errors(paths: Sequence[PathNodes], graph: Graph) -> Iterator[FieldError]:
    """Hops that lead back, or to something that is computed beside what they come from."""
    for index, path in enumerate(paths):
        for place in range(1, len(path)):
            before, node = path[place - 1], path[place]
            if isinstance(before, SweepOf) or isinstance(node, SweepOf):
                continue  # cells of a sweep without a path are warned of
            if written_at(before, graph, is_first=place == 1) >= graph.time_of(node):
                message = f"no edge leads from {before} to {node}: {node} is read before {before} can change anything"
                yield wrong(("patch", "paths", index, place), message)


def written_at(node: Node, graph: Graph, is_first: bool) -> int:
    """When a sender, or the component behind a receiver, writes."""
    if is_first or node.layer is None or not (is_in_attention(node.hook) or is_in_mlp(node.hook)):
        return graph.time_of(node)
    return graph.time_of(Site("z" if is_in_attention(node.hook) else "post", node.layer))


def shared_edges(patch: PathPatch, places: Places) -> Iterator[FieldError]:
    """Nodes of different paths that have an edge twice: overlapping inputs, or what includes another into one input."""
    assert patch.paths is not None
    hops = hops_of(patch.paths, places.graph)
    nodes = [reader.node for reader in hops.readers]
    for earlier, later, _, where in islice(twice_counted(nodes, places, are_senders=False), MOST_PER_KIND):
        yield wrong(_place_of(patch.paths, later), _overlap(earlier, later, where))
    architecture = places.graph.architecture
    cells = grid_of(patch, architecture, places.dataset.longest).senders.cells
    for reader in hops.readers:
        through = [_as_node(site) for site in outputs_before(reader, hops, architecture)]
        if len(reader.firsts) + len(through) > 1:
            for twice in _written_twice(reader, cells, through, places):
                yield wrong(_place_of(patch.paths, reader.node), f"into {reader.node}, {_overlap(*twice)}")


def _written_twice(
    reader: Reader, cells: Sequence[Sequence[Node]], through: list[Node], places: Places
) -> Iterator[tuple[Node, Node, tuple[int, int]]]:
    """The first pair of writers into an input that include one another, in some cell of senders."""
    for cell in cells:
        firsts = [cell[slot] for slot in sorted(reader.firsts)]
        nodes = [node for node in firsts if places.graph.reaches(node, [reader.node])]
        for earlier, later, _, where in twice_counted([*nodes, *through], places, are_senders=True):
            yield earlier, later, where
            return


def _overlap(earlier: Node, later: Node, where: tuple[int, int]) -> str:
    example, pos = where
    return f"{earlier} and {later} overlap, as at position {pos} of prompt {example}: an edge would be counted twice"


def _place_of(paths: Sequence[PathNodes], node: Node) -> Path:
    """The first place where a node stands, after a first node."""
    places = [(index, path.index(node, 1)) for index, path in enumerate(paths) if node in path[1:]]
    return ("patch", "paths", *places[0])


def _as_node(site: Site) -> Node:
    return Node.model_construct(hook=site.hook, layer=site.layer, head=site.head, neuron=site.neuron)
