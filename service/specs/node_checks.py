"""Whether a patch's nodes exist in the model and its positions in the dataset."""

from collections.abc import Iterator
from itertools import islice

from api_schemas.datasets import ResolvedDataset
from api_schemas.errors import FieldError
from api_schemas.models import ModelShape
from api_schemas.nodes import Node, Sweep, SweepOf
from api_schemas.spec import ActivationPatch, PathPatch
from planning.grid import sweep_sizes
from planning.places import Places, twice_counted
from service.datasets.draft import MOST_PER_KIND
from service.specs.known_names import KnownNames, Path
from service.specs.limits import Limits, knob
from service.specs.wording import counted, wrong

PATCH: Path = ("patch",)


def ends_of(patch: PathPatch | ActivationPatch) -> dict[str, list[Node] | SweepOf]:
    """The patch's lists of nodes and sweeps, by field."""
    if isinstance(patch, ActivationPatch):
        return {"nodes": patch.nodes}
    return {"senders": patch.senders, "receivers": patch.receivers}


def patch_errors(
    patch: PathPatch | ActivationPatch, shape: ModelShape, names: KnownNames, limits: Limits
) -> Iterator[FieldError]:
    """Everything in the patch that does not exist, and sweeps that are too large."""
    for field, end in ends_of(patch).items():
        if isinstance(end, SweepOf):
            yield from _sweep_errors(end.sweep, shape, names, (*PATCH, field, "sweep"))
            continue
        for index, node in enumerate(end):
            yield from _node_errors(node, shape, names, (*PATCH, field, index))
    yield from names.check_positions(patch.positions, (*PATCH, "positions"))
    yield from _size_errors(patch, shape, names, limits)


def overlap_errors(patch: PathPatch | ActivationPatch, dataset: ResolvedDataset) -> Iterator[FieldError]:
    """Nodes of one list that have an edge twice in some example; at disjoint positions they have none in common."""
    places = Places(patch.positions, dataset)
    for field, end in ends_of(patch).items():
        nodes = [] if isinstance(end, SweepOf) else end
        for earlier, later, index, place in islice(twice_counted(nodes, places, field == "senders"), MOST_PER_KIND):
            restricted = any(one is not None for one in (patch.positions, earlier.positions, later.positions))
            where = f"position {place[1]} of prompt {place[0]}" if restricted else "every position"
            message = f"{field} {earlier} and {later} overlap at {where}: the same edge would be counted twice"
            yield wrong((*PATCH, field, index), message)


def index_errors(axis: str, index: int | None, size: int, path: Path) -> Iterator[FieldError]:
    """A layer, head or neuron that the model does not have."""
    if index is not None and index >= size:
        yield wrong(path, f"{axis} {index} does not exist: this model has {axis}s 0 to {size - 1}")


def _node_errors(node: Node, shape: ModelShape, names: KnownNames, path: Path) -> Iterator[FieldError]:
    yield from index_errors("layer", node.layer, shape.n_layers, (*path, "layer"))
    yield from index_errors("head", node.head, shape.n_heads, (*path, "head"))
    yield from index_errors("neuron", node.neuron, shape.d_mlp, (*path, "neuron"))
    yield from names.check_positions(node.positions, (*path, "positions"))


def _sweep_errors(sweep: Sweep, shape: ModelShape, names: KnownNames, path: Path) -> Iterator[FieldError]:
    for axis, chosen, size in (
        ("layer", sweep.layers, shape.n_layers),
        ("head", sweep.heads, shape.n_heads),
        ("neuron", sweep.neurons, shape.d_mlp),
    ):
        for place, index in enumerate(chosen if isinstance(chosen, list) else []):
            yield from index_errors(axis, index, size, (*path, axis + "s", place))
    for place, ref in enumerate(sweep.positions if isinstance(sweep.positions, list) else []):
        yield from names.check_position(ref, (*path, "positions", place))


def _size_errors(
    patch: PathPatch | ActivationPatch, shape: ModelShape, names: KnownNames, limits: Limits
) -> Iterator[FieldError]:
    cells = sweep_sizes(patch, shape, max(names.lengths) if names.lengths else 1)
    if cells > limits.max_cells:
        swept = [field for field, end in ends_of(patch).items() if isinstance(end, SweepOf)]
        path: Path = (*PATCH, swept[0], "sweep") if len(swept) == 1 else PATCH
        advice = "sweep fewer layers, heads, neurons or positions"
        allowed = f"at most {limits.max_cells:,} are allowed ({knob('max_cells')})"
        yield wrong(path, f"the sweep has {counted(cells, 'cell')}, and {allowed}: {advice}")
