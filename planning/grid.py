"""The grid of cells that a patch with sweeps stands for: axes, coordinates, and what each cell patches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from api_schemas.circuits import CircuitPatch
from api_schemas.nodes import Node, PositionRef, Sweep, SweepOf
from api_schemas.patches import PathNodes
from api_schemas.spec import ActivationPatch, AnyPatch
from planning.architecture import Architecture
from planning.circuit import CircuitGraph
from planning.circuit_nodes import reader_nodes, writer_nodes

Coordinate = int | str


@dataclass(frozen=True)
class Axis:
    """One axis of a result: its name, such as ``sender_layer``, and the value at each index."""

    name: str
    coordinates: list[Coordinate]


@dataclass(frozen=True)
class End:
    """One side of a patch (senders, receivers or nodes): its axes, and the nodes of each cell in row-major order."""

    axes: list[Axis]
    cells: list[list[Node]]

    @property
    def shape(self) -> list[int]:
        """Length of each axis."""
        return [len(axis.coordinates) for axis in self.axes]


@dataclass(frozen=True)
class CellSlice:
    """Some of a grid's cells: consecutive senders, with consecutive receivers (or nodes of an activation patch)."""

    senders: tuple[int, int]
    receivers: tuple[int, int]

    @property
    def is_first(self) -> bool:
        """Whether the grid's first cell is one of them."""
        return self.senders[0] == self.receivers[0] == 0


@dataclass(frozen=True)
class Grid:
    """All cells of a patch, senders' axes first; ``receivers`` is None for activation patching."""

    senders: End
    receivers: End | None
    start: tuple[int, int] = (0, 0)
    """The first sender and receiver, if it is a slice of a larger grid."""

    @property
    def sizes(self) -> tuple[int, int]:
        """How many senders and receivers; the nodes of an activation patch count as receivers of one sender."""
        return (
            (1, len(self.senders.cells))
            if self.receivers is None
            else (len(self.senders.cells), len(self.receivers.cells))
        )

    def part(self, cells: CellSlice) -> "Grid":
        """Some of the cells, without axes."""
        start = (cells.senders[0], cells.receivers[0])
        if self.receivers is None:
            return Grid(End([], self.senders.cells[slice(*cells.receivers)]), None, start)
        senders = End([], self.senders.cells[slice(*cells.senders)])
        return Grid(senders, End([], self.receivers.cells[slice(*cells.receivers)]), start)

    @property
    def axes(self) -> list[Axis]:
        """The senders' axes, then the receivers'."""
        return self.senders.axes + (self.receivers.axes if self.receivers else [])

    @property
    def shape(self) -> list[int]:
        """Length of each axis."""
        return [len(axis.coordinates) for axis in self.axes]

    def __len__(self) -> int:
        return prod(self.sizes)


def _indices(choice: str | list[int] | None, size: int) -> list[int] | None:
    """The indices of an axis, or None where there is no axis."""
    if choice == "all":
        return list(range(size))
    return choice if isinstance(choice, list) else None


def cells_within(choice: str | list[int] | None, size: int) -> int:
    """Into how many cells a choice of heads or neurons divides a node: one where they are joint, or none are chosen."""
    if isinstance(choice, list):
        return len(choice)
    return size if choice == "all" else 1


@dataclass(frozen=True)
class _Choices:
    """What a sweep varies; None where it does not."""

    layers: list[int]
    heads: list[int] | None
    neurons: list[int] | None
    positions: list[PositionRef] | None

    @classmethod
    def of(cls, sweep: Sweep, architecture: Architecture, longest: int) -> "_Choices":
        heads, neurons = (
            _indices(sweep.head_choice, architecture.n_heads_of(sweep.hooks[0])),
            _indices(sweep.neuron_choice, architecture.d_mlp),
        )
        positions: list[PositionRef] | None = list(range(longest)) if sweep.positions == "each" else sweep.positions
        return cls(_indices(sweep.layers, architecture.n_layers) or [], heads, neurons, positions)


def _sweep_axes(sweep: Sweep, architecture: Architecture, prefix: str, longest: int) -> list[Axis]:
    """Axes in the order hook, layer, head or neuron, position; a hook axis only where a list of hooks was given."""
    chosen = _Choices.of(sweep, architecture, longest)
    values: list[tuple[str, list[Coordinate] | None]] = [
        ("hook", list(sweep.hooks) if isinstance(sweep.hook, list) else None),
        ("layer", list(chosen.layers)),
        ("head", None if chosen.heads is None else list(chosen.heads)),
        ("neuron", None if chosen.neurons is None else list(chosen.neurons)),
        ("position", None if chosen.positions is None else list(chosen.positions)),
    ]
    return [Axis(prefix + name, coordinates) for name, coordinates in values if coordinates is not None]


def _sweep_end(sweep: Sweep, architecture: Architecture, prefix: str, longest: int) -> End:
    chosen = _Choices.of(sweep, architecture, longest)
    places = product(
        sweep.hooks,
        chosen.layers,
        chosen.heads or [None],  # type: ignore[list-item]
        chosen.neurons or [None],  # type: ignore[list-item]
        chosen.positions or [None],  # type: ignore[list-item]
    )
    cells = [
        [Node.model_construct(hook=hook, layer=layer, head=head, neuron=neuron, positions=position)]
        for hook, layer, head, neuron, position in places
    ]  # not validated again: there can be 200 000
    return End(_sweep_axes(sweep, architecture, prefix, longest), cells)


def _end(nodes: list[Node] | SweepOf, architecture: Architecture, prefix: str, longest: int) -> End:
    if isinstance(nodes, SweepOf):
        return _sweep_end(nodes.sweep, architecture, prefix, longest)
    return End([], [list(nodes)])


def sweep_sizes(patch: AnyPatch, architecture: Architecture, longest: int) -> int:
    """Number of cells, counted without building them: for limits that must hold before memory is spent."""
    return prod(grid_sizes(patch, architecture, longest))


def grid_sizes(patch: AnyPatch, architecture: Architecture, longest: int) -> tuple[int, int]:
    """``Grid.sizes``, without building its cells; circuits are cut by readers alone."""

    def count(nodes: list[Node] | SweepOf) -> int:
        if not isinstance(nodes, SweepOf):
            return 1
        sweep = nodes.sweep
        sizes = [len(sweep.hooks), architecture.n_layers if sweep.layers == "all" else len(sweep.layers)]
        sizes += [
            cells_within(sweep.head_choice, architecture.n_heads_of(sweep.hooks[0])),
            cells_within(sweep.neuron_choice, architecture.d_mlp),
        ]
        if sweep.positions is not None:
            sizes.append(longest if sweep.positions == "each" else len(sweep.positions))
        return prod(sizes)

    if isinstance(patch, CircuitPatch):
        return 1, architecture.n_layers * (3 * architecture.n_heads + 1) + 1
    if isinstance(patch, ActivationPatch):
        return 1, count(patch.nodes)
    return (count(patch.swept_start) if patch.swept_start else 1), count(patch.ends)


def grid_of(patch: AnyPatch, architecture: Architecture, longest: int) -> Grid:
    """The cells of a patch.

    Args:
        longest: Tokens of the dataset's longest prompt: the length of an ``each`` positions axis.
    """
    if isinstance(patch, CircuitPatch):
        return edge_grid(CircuitGraph(architecture))
    if isinstance(patch, ActivationPatch):
        return Grid(_end(patch.nodes, architecture, "", longest), None)
    swept, ends = patch.swept_start, _end(patch.ends, architecture, "receiver_", longest)
    starts = _end(patch.starts if swept is None else swept, architecture, "sender_", longest)
    if patch.paths is not None and swept is not None:
        starts = End(starts.axes, first_cells(patch.paths, [node for (node,) in starts.cells]))
    return Grid(starts, ends)


def first_cells(paths: list[PathNodes], swept: Sequence[Node]) -> list[list[Node]]:
    """Per cell, the distinct first nodes of the paths, with a cell's node in the sweep's place."""
    firsts: list[Node | SweepOf] = []
    for path in paths:
        if path[0] not in firsts:
            firsts.append(path[0])
    return [[node if isinstance(node, Node) else own for node in firsts] for own in swept]


def edge_grid(graph: CircuitGraph) -> Grid:
    """Every writer by every reader; a cell whose writer comes after its reader is no edge, and has no path."""
    return Grid(End([], [[node] for node in writer_nodes(graph)]), End([], [[node] for node in reader_nodes(graph)]))


def axes_of(patch: AnyPatch, architecture: Architecture, longest: int) -> list[Axis]:
    """The axes of ``grid_of``, without building its cells; circuits have edges in their place."""
    if isinstance(patch, CircuitPatch):
        return []
    if isinstance(patch, ActivationPatch):
        ends: list[tuple[list[Node] | SweepOf, str]] = [(patch.nodes, "")]
    else:
        ends = [(patch.swept_start or [], "sender_"), (patch.ends, "receiver_")]
    swept = [(end.sweep, prefix) for end, prefix in ends if isinstance(end, SweepOf)]
    return [axis for sweep, prefix in swept for axis in _sweep_axes(sweep, architecture, prefix, longest)]


def kinds_of_node(nodes: list[Node] | SweepOf, architecture: Architecture, longest: int) -> list[Node]:
    """An end's nodes; of a sweep one per hook, layer and position, which stands for all heads or neurons there."""
    if not isinstance(nodes, SweepOf):
        return list(nodes)
    joint = nodes.sweep.model_copy(update={"heads": "joint", "neurons": "joint"})
    return [node for cell in _sweep_end(joint, architecture, "", longest).cells for node in cell]
