"""The grid of cells that a patch with sweeps stands for: axes, coordinates, and what each cell patches."""

from dataclasses import dataclass
from itertools import product
from math import prod

from api_schemas.models import ModelShape
from api_schemas.nodes import HEAD_HOOKS, NEURON_HOOKS, Node, PositionRef, Sweep, SweepOf, reaches
from api_schemas.spec import ActivationPatch, PathPatch

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
        return [len(axis.coordinates) for axis in self.axes]


@dataclass(frozen=True)
class Grid:
    """All cells of a patch, senders' axes first; ``receivers`` is None for activation patching."""

    senders: End
    receivers: End | None

    @property
    def axes(self) -> list[Axis]:
        return self.senders.axes + (self.receivers.axes if self.receivers else [])

    @property
    def shape(self) -> list[int]:
        return [len(axis.coordinates) for axis in self.axes]

    def __len__(self) -> int:
        return prod(self.shape)

    def is_reachable(self, sender_cell: int, receiver_cell: int) -> bool:
        """Whether any sender of the cell reaches any of its receivers."""
        if self.receivers is None:
            return True
        return any(reaches(node, self.receivers.cells[receiver_cell]) for node in self.senders.cells[sender_cell])


def _indices(choice: str | list[int] | None, size: int) -> list[int] | None:
    """The indices of an axis, or None where there is no axis."""
    if choice == "all":
        return list(range(size))
    return choice if isinstance(choice, list) else None


def _sweep_end(sweep: Sweep, shape: ModelShape, prefix: str, longest: int) -> End:
    """Axes in the order hook, layer, head or neuron, position; a hook axis only where a list of hooks was given."""
    head_choice = (sweep.heads or "all") if set(sweep.hooks) <= HEAD_HOOKS else None
    heads = _indices(head_choice, shape.n_heads)
    neurons = _indices(sweep.neurons, shape.d_mlp) if set(sweep.hooks) <= NEURON_HOOKS else None
    positions: list[PositionRef] | None = list(range(longest)) if sweep.positions == "each" else sweep.positions
    layers = _indices(sweep.layers, shape.n_layers) or []
    values: list[tuple[str, list[Coordinate] | None]] = [
        ("hook", list(sweep.hooks) if isinstance(sweep.hook, list) else None),
        ("layer", list(layers)),
        ("head", None if heads is None else list(heads)),
        ("neuron", None if neurons is None else list(neurons)),
        ("position", None if positions is None else list(positions)),
    ]
    axes = [Axis(prefix + name, coordinates) for name, coordinates in values if coordinates is not None]
    places = product(sweep.hooks, layers, heads or [None], neurons or [None], positions or [None])  # type: ignore[list-item]
    cells = [
        [Node(hook=hook, layer=layer, head=head, neuron=neuron, positions=position)]
        for hook, layer, head, neuron, position in places
    ]
    return End(axes, cells)


def _end(nodes: list[Node] | SweepOf, shape: ModelShape, prefix: str, longest: int) -> End:
    if isinstance(nodes, SweepOf):
        return _sweep_end(nodes.sweep, shape, prefix, longest)
    return End([], [list(nodes)])


def sweep_sizes(patch: PathPatch | ActivationPatch, shape: ModelShape, longest: int) -> int:
    """Number of cells, counted without building them: for limits that must hold before memory is spent."""

    def count(nodes: list[Node] | SweepOf) -> int:
        if not isinstance(nodes, SweepOf):
            return 1
        sweep = nodes.sweep
        sizes = [len(sweep.hooks), shape.n_layers if sweep.layers == "all" else len(sweep.layers)]
        if set(sweep.hooks) <= HEAD_HOOKS and sweep.heads != "joint":
            sizes.append(len(sweep.heads) if isinstance(sweep.heads, list) else shape.n_heads)
        if sweep.neurons == "all" or isinstance(sweep.neurons, list):
            sizes.append(len(sweep.neurons) if isinstance(sweep.neurons, list) else shape.d_mlp)
        if sweep.positions is not None:
            sizes.append(longest if sweep.positions == "each" else len(sweep.positions))
        return prod(sizes)

    if isinstance(patch, ActivationPatch):
        return count(patch.nodes)
    return count(patch.senders) * count(patch.receivers)


def grid_of(patch: PathPatch | ActivationPatch, shape: ModelShape, longest: int) -> Grid:
    """The cells of a patch.

    Args:
        longest: Tokens of the dataset's longest prompt: the length of an ``each`` positions axis.
    """
    if isinstance(patch, ActivationPatch):
        return Grid(_end(patch.nodes, shape, "", longest), None)
    return Grid(_end(patch.senders, shape, "sender_", longest), _end(patch.receivers, shape, "receiver_", longest))


def unreachable_senders(patch: PathPatch | ActivationPatch, shape: ModelShape, longest: int) -> list[Node]:
    """Senders from which no path leads to any receiver of the patch."""
    grid = grid_of(patch, shape, longest)
    if grid.receivers is None:
        return []
    last = max(node.time for cell in grid.receivers.cells for node in cell)
    return [node for cell in grid.senders.cells for node in cell if node.time >= last]
