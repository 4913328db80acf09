"""The strongest edges of a sweep as a circuit: one node per head or MLP, in the order of the forward pass upwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from api_schemas.nodes import HEAD_HOOKS, NEURON_HOOKS, QUERY_HEAD_HOOKS, Node
from pathpatch.drawing.captions import Spec, end_words, signed
from pathpatch.drawing.charts import GraphEdge, GraphNode
from pathpatch.results.block import Block
from pathpatch.results.cells import place_name
from planning.architecture import Architecture
from planning.graph import Graph

_ORDER = Graph(Architecture(n_layers=1, n_heads=1, d_model=1, d_mlp=1, n_ctx=1, d_vocab=1))
"""The order of a sequential block, in which every model is drawn."""
_TOP = 10**6
_CURVE_POINTS = 13
_LABEL_SIZE = (0.1, 0.045)
"""Width and height of an edge's label, as parts of the drawing's."""
_MIDDLE_FIRST = (6, 5, 7, 4, 8, 3, 9, 10, 2)
"""Points of a curve that may carry its label, best first."""


@dataclass(frozen=True)
class _End:
    """One end of an edge: the node it belongs to, its height, and the hook that was patched or read."""

    node: str
    height: float
    words: str
    hook: str | None = None


def circuit(
    block: Block, spec: Spec | None, strongest: int, *, is_grouped: bool = False
) -> tuple[list[GraphNode], list[GraphEdge]]:
    """Nodes and edges of the cells of largest absolute effect; what was not swept is one node.

    Args:
        is_grouped: Whether query heads share key-value heads, which are then nodes of their own.
    """
    patch = spec["patch"] if spec is not None else {}
    drawn = []
    for index, effect in block.strongest(strongest):
        coordinates = block.coordinates_of(index)
        sender, receiver = (_end(coordinates, side, patch, is_grouped) for side in ("sender_", "receiver_"))
        drawn.append((sender, receiver, effect))
    nodes = _placed({end.node: end.height for *ends, _ in drawn for end in ends})
    places = {node.name: (node.column, node.height) for node in nodes}
    taken: dict[tuple[str, str], int] = {}
    labels = _LabelSpace(nodes)
    edges: list[GraphEdge] = []
    for sender, receiver, effect in drawn:
        pair = (sender.node, receiver.node)
        taken[pair] = taken.get(pair, 0) + 1
        label = signed(effect) if receiver.hook is None else f"{receiver.hook} {signed(effect)}"
        points = curve(places[pair[0]], places[pair[1]], taken[pair])
        edges.append(GraphEdge(f"{sender.words} → {receiver.words}", label, effect, points, labels.free_point(points)))
    return nodes, edges


class _LabelSpace:
    """Finds each edge's label a point where it covers no node and no other label, or as little as can be."""

    def __init__(self, nodes: list[GraphNode]) -> None:
        self._taken = [(node.column, node.height) for node in nodes]
        columns, heights = zip(*self._taken, strict=True) if nodes else ((0.0,), (0.0,))
        self._width: float = _LABEL_SIZE[0] * (max(columns) - min(columns) + 1.2)
        self._height: float = _LABEL_SIZE[1] * (max(heights) - min(heights) + 0.2)

    def free_point(self, curve: list[tuple[float, float]]) -> tuple[float, float]:
        """A point of the curve, taken from now on."""
        points = [curve[index] for index in _MIDDLE_FIRST]
        free = next((point for point in points if self._room(point) >= 1), None)
        chosen = free if free is not None else max(points, key=self._room)
        self._taken.append(chosen)
        return chosen

    def _room(self, point: tuple[float, float]) -> float:
        """Distance to the nearest thing, 1 where they just touch."""
        return min(
            max(abs(point[0] - column) / self._width, abs(point[1] - height) / self._height)
            for column, height in self._taken
        )


def _end(coordinates: Mapping[str, Any], prefix: str, patch: Mapping[str, Any], is_grouped: bool) -> _End:
    """One end of a cell, from the coordinates that were swept or from the patch."""
    is_activation = not any(name.startswith(("sender_", "receiver_")) for name in coordinates)
    if is_activation and prefix == "receiver_":
        return _End("metric", _TOP, "metric")
    side = "" if is_activation else prefix
    fixed = patch.get("nodes" if is_activation else f"{prefix.rstrip('_')}s")
    if not place_name(coordinates, side):
        return _fixed_end(fixed, prefix, is_grouped)
    hook = coordinates.get(f"{side}hook") or _swept_hook(fixed) or ("z" if prefix == "sender_" else "q")
    own = {part: coordinates.get(side + part) for part in ("layer", "head", "neuron")}
    named = _node(Node.model_validate({"hook": hook, **own}), is_grouped)
    words = place_name({**coordinates, f"{side}hook": hook}, side)
    position = coordinates.get(f"{side}position")
    return _End(named.node + ("" if position is None else f" at {position}"), named.height, words, named.hook)


def _node(node: Node, is_grouped: bool) -> _End:
    """The head or MLP that a hook belongs to, so that what one edge writes and the next reads are one node."""
    if node.hook in HEAD_HOOKS or node.hook == "attn_out":
        head = node.head if node.query_head is None else node.query_head
        own_name = f"attn {node.layer}" if head is None else f"{node.layer}.{head}"
        if is_grouped and node.hook in QUERY_HEAD_HOOKS and node.head is not None:
            own_name = f"kv {own_name}"
        same = Node(hook="z", layer=node.layer)
    elif node.hook in NEURON_HOOKS or node.hook == "mlp_out":
        own_name = f"mlp {node.layer}" if node.neuron is None else f"neuron {node.layer}.{node.neuron}"
        same = Node(hook="mlp_out", layer=node.layer)
    else:
        own_name, same = str(node), node
    reads = node.hook if node.hook in ("q", "k", "v", "pattern") else None
    return _End(own_name, _ORDER.time_of(same), str(node), reads)


def _fixed_end(fixed: Any, prefix: str, is_grouped: bool) -> _End:
    if not isinstance(fixed, list):
        return _End("senders", -1, "senders") if prefix == "sender_" else _End("receivers", _TOP, "receivers")
    nodes = [_node(Node.model_validate({**node, "positions": None}), is_grouped) for node in fixed]
    if len(nodes) == 1:
        return nodes[0]
    words = end_words(fixed)
    return _End(words, max(node.height for node in nodes), words)


def _swept_hook(fixed: Any) -> str | None:
    hook = fixed["sweep"]["hook"] if isinstance(fixed, Mapping) else None
    return hook if isinstance(hook, str) else None


def _placed(heights: Mapping[str, float]) -> list[GraphNode]:
    """Rows of equal height spread evenly; ranks instead of heights, and every other row shifted, so that edges part."""
    rows = sorted(set(heights.values()))
    nodes = []
    for rank, height in enumerate(rows):
        names = sorted(name for name, at in heights.items() if at == height)
        is_inner = 0 < rank < len(rows) - 1
        shift = (0.3 if rank % 2 else -0.3) if is_inner else 0.0
        nodes += [GraphNode(name, place + shift - (len(names) - 1) / 2, rank) for place, name in enumerate(names)]
    return nodes


def curve(sender: tuple[float, float], receiver: tuple[float, float], occurrence: int) -> list[tuple[float, float]]:
    """A quadratic curve that leans sideways, more for each further edge of the same pair."""
    start, end = np.array(sender), np.array(receiver)
    lean = 0.12 * occurrence * (1 if occurrence % 2 else -1) * abs(end[1] - start[1])
    control = (start + end) / 2 + np.array([lean, 0.0])
    along = np.linspace(0, 1, _CURVE_POINTS)[:, None]
    points = (1 - along) ** 2 * start + 2 * along * (1 - along) * control + along**2 * end
    return [(float(column), float(height)) for column, height in points]
