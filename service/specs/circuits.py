"""Whether a circuit job fits a model: its edges exist, and there are not too many of them."""

from collections.abc import Iterator

from api_schemas.circuits import CircuitPatch, EapIgGraph
from api_schemas.errors import FieldError
from api_schemas.spec import JobSpec, TopCells
from api_schemas.wording.values import counted, shown, wrong
from planning.architecture import Architecture
from planning.circuit import CircuitGraph, UnfitEdge, edge_count
from planning.circuit_rounds import targets
from planning.circuit_sets import asked_sizes, most_runs
from service.specs.limits import SpecLimits, knob

BYTES_PER_EDGE = 64
"""Of JSON: a name, a score and its error."""
BYTES_PER_MEMBER = 7
BYTES_PER_TEST = 120


def circuit_errors(
    patch: CircuitPatch, architecture: Architecture, examples: int, limits: SpecLimits
) -> Iterator[FieldError]:
    """What a model cannot do, or this service does not do."""
    n_edges = edge_count(architecture)
    if n_edges > limits.max_cells:
        allowed = f"at most {limits.max_cells:,} are allowed ({knob('max_cells')})"
        yield wrong(("patch", "kind"), f"this model has {counted(n_edges, 'edge')}, and {allowed}")
    else:
        yield from _too_much(patch, architecture, examples, limits)
        yield from _edges(patch, CircuitGraph(architecture))


def _too_much(
    patch: CircuitPatch, architecture: Architecture, examples: int, limits: SpecLimits
) -> Iterator[FieldError]:
    n_edges = edge_count(architecture)
    is_acdc = patch.edges is None and patch.choice.by == "acdc"
    is_exact_in_rounds = patch.method == "exact" and patch.choice.by == "iterated"
    tested = n_edges * examples + (examples * sum(targets(patch, n_edges)) if is_exact_in_rounds else 0)
    if (patch.method == "exact" or is_acdc) and tested > limits.max_edge_examples:
        rounds = " in all rounds" if is_exact_in_rounds else ""
        asked = f"{counted(n_edges, 'edge')} x {counted(examples, 'example')} are {tested:,} patched runs{rounds}"
        allowed = f"at most {limits.max_edge_examples:,} are allowed ({knob('max_edge_examples')})"
        yield wrong(
            ("patch", "choose" if is_acdc else "score"),
            f"{asked}, and {allowed}: take fewer examples, or an estimate such as 'integrated'",
        )
    runs = most_runs(patch, architecture)
    if runs > limits.max_circuit_runs:
        advice = "ask for fewer or smaller circuits, or fewer tests"
        allowed = f"at most {limits.max_circuit_runs:,} are allowed ({knob('max_circuit_runs')})"
        yield wrong(("patch", "tests"), f"this takes up to {runs:,} runs of circuits, and {allowed}: {advice}")


def _edges(patch: CircuitPatch, graph: CircuitGraph) -> Iterator[FieldError]:
    """Names that are no edge of this model."""
    if isinstance(patch.edges, EapIgGraph):
        yield from _graph(patch.edges, graph)
        return
    for label, names in (patch.edges or {}).items():
        for index, name in enumerate(names):
            if sentence := _why_unfit(graph, name):
                yield wrong(("patch", "edges", label, index), sentence)


def _graph(given: EapIgGraph, graph: CircuitGraph) -> Iterator[FieldError]:
    architecture = graph.architecture
    own = {
        "n_layers": architecture.n_layers,
        "n_heads": architecture.n_heads,
        "parallel_attn_mlp": architecture.is_parallel,
        "d_model": architecture.d_model,
    }
    differs = {name: value for name, value in own.items() if name in given.cfg and given.cfg[name] != value}
    for name, value in differs.items():
        sentence = f"this is a graph of another model: its {name} is {shown(given.cfg[name])}, and here it is {value}"
        yield wrong(("patch", "edges", "cfg", name), sentence)
    if not differs:
        for name in given.edges:
            if sentence := _why_unfit(graph, name):
                yield wrong(("patch", "edges", "edges", name), sentence)


def _why_unfit(graph: CircuitGraph, name: str) -> str:
    try:
        graph.edge(name)
    except UnfitEdge as unfit:
        return str(unfit)
    return ""


def circuit_bytes(spec: JobSpec, patch: CircuitPatch, architecture: Architecture, examples: int) -> int:
    """Of the result as JSON, roughly."""
    n_edges = edge_count(architecture)
    listed = 0 if patch.method is None else listed_edges(spec, n_edges)
    members = sum(size for size, _ in asked_sizes(patch, n_edges)) if patch.method else 0
    if isinstance(patch.edges, dict):
        members = sum(map(len, patch.edges.values()))
    numbers = 20 * examples * len(asked_sizes(patch, n_edges)) if spec.per_example else 0
    tested = BYTES_PER_TEST * most_runs(patch, architecture)
    return BYTES_PER_EDGE * listed + BYTES_PER_MEMBER * members + tested + numbers


def listed_edges(spec: JobSpec, n_edges: int) -> int:
    """How many edges the result lists."""
    return min(spec.output.reduce.top, n_edges) if isinstance(spec.output.reduce, TopCells) else n_edges
