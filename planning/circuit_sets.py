"""The edge sets that a circuit job runs: the circuits, and what its tests compare them with; equal sets run once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from api_schemas.circuits import CircuitPatch, EapIgGraph
from planning.architecture import Architecture
from planning.circuit import CircuitGraph, Members, edge_count
from planning.circuit_choice import MIB_FRACTIONS, chosen_circuits, greedy_edges, key_of, sizes_of

RANDOM_CIRCUITS = 10
"""Circuits drawn for each size."""
RANDOM_KNOCKOUTS = 10
"""Edge sets that completeness knocks out of each circuit, beside each of its nodes."""
RANDOM_REMOVALS = 3
"""Edge sets K that minimality removes first, beside none."""
MOST_EDGES_REMOVED = 200
"""Minimality removes each edge of a circuit; of one with more edges so many are drawn."""


@dataclass(frozen=True, eq=False)
class Circuit:
    """One circuit, as chosen or given."""

    label: str
    """Its name, or how many edges were asked for."""
    n_chosen: int
    """Edges before pruning."""
    members: Members
    fraction: float | None = None
    """Of the model's edges, where that was asked for."""


@dataclass(frozen=True)
class Removal:
    """A circuit without some of its edges, beside the model without them."""

    circuit: int
    what: str
    """What was knocked out: a node or an edge by its name, or ``random`` edges."""
    without: int
    """The circuit's run."""
    model_without: int | None = None
    """The model's run; None for minimality."""
    given: tuple[tuple[int, int], ...] = ()
    """Minimality: for each set K, the runs without K, and without K and this."""


@dataclass(eq=False)
class EdgeSets:
    """Which runs there are, and what each stands for; runs are counted in the order in which they were added."""

    graph: CircuitGraph
    runs: list[Members] = field(default_factory=list)
    circuits: list[Circuit] = field(default_factory=list)
    run_of: list[int] = field(default_factory=list)
    """Of each circuit."""
    completeness: list[Removal] = field(default_factory=list)
    minimality: list[Removal] = field(default_factory=list)
    random: list[tuple[int, int]] = field(default_factory=list)
    """Circuit, and the run of one drawn in its place."""
    verified: list[tuple[int, int]] = field(default_factory=list)
    """Edge, and the run of the model without it; largest estimate first."""
    _known: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        everything = np.ones(len(self.graph), dtype=bool)
        self.none, self.all = self.add(~everything), self.add(everything)
        self.checked_edge = self._edge_from_input()
        """The edge whose removal is compared with its path patch."""
        self.without_checked = self.add(self.without({self.checked_edge}))

    def _edge_from_input(self) -> int:
        """One into the middle of the model: what the input writes is no norm's, whatever the family."""
        own = np.flatnonzero(self.graph.ends[0] == 0)
        return int(own[len(own) // 2])

    def add(self, members: Members) -> int:
        """The run of a set, without its dead ends."""
        pruned = self.graph.pruned(members)
        key = np.packbits(pruned).tobytes()
        if key not in self._known:
            self._known[key] = len(self.runs)
            self.runs.append(pruned)
        return self._known[key]

    def without(self, edges: set[int]) -> Members:
        """All edges but some."""
        return ~self.graph.members(edges)

    @cached_property
    def n_sets(self) -> int:
        """How many runs there are."""
        return len(self.runs)


def edge_sets(
    patch: CircuitPatch,
    graph: CircuitGraph,
    scores: NDArray[np.floating] | None,
    chosen: Sequence[Members] | None = None,
) -> EdgeSets:
    """Everything that a job runs; the same for the same scores.

    Args:
        scores: Mean over the examples, per edge; None where circuits are given.
        chosen: The circuits, where more than these scores decided.
    """
    sets = EdgeSets(graph)
    if chosen is None and scores is not None:
        chosen = chosen_members(patch, graph, scores)
    for circuit in given_circuits(patch, graph) if chosen is None else _labelled(patch, graph, chosen):
        sets.circuits.append(circuit)
        sets.run_of.append(sets.add(circuit.members))
    if patch.verify is not None and scores is not None:
        largest = np.argsort(-np.abs(scores), kind="stable")[: patch.verify]
        sets.verified = [(int(edge), sets.add(sets.without({int(edge)}))) for edge in largest]
    _add_tests(patch, sets)
    return sets


def given_circuits(patch: CircuitPatch, graph: CircuitGraph) -> list[Circuit]:
    """The user's own circuits; every name has been checked."""
    if isinstance(patch.edges, EapIgGraph):
        named = {"graph": [name for name, edge in patch.edges.edges.items() if edge.in_graph]}
    else:
        named = patch.edges or {}
    found = []
    for label, names in named.items():
        members = graph.members({graph.edge(name) for name in names})
        found.append(Circuit(label, int(members.sum()), graph.pruned(members)))
    return found


def asked_sizes(patch: CircuitPatch, n_edges: int) -> list[tuple[int, float | None]]:
    """Sizes of the circuits to choose, each with its fraction if it was asked for as one."""
    choice = patch.choice
    if choice.by == "acdc":
        return [(n_edges, None)]
    if choice.edges is not None:
        return [(min(size, n_edges), None) for size in choice.edges]
    fractions = choice.fractions if choice.fractions is not None else list(MIB_FRACTIONS)
    return list(zip(sizes_of(fractions, n_edges), fractions, strict=True))


def most_runs(patch: CircuitPatch, architecture: Architecture) -> int:
    """The most edge sets that a job can run, from its spec alone."""
    n_edges, n_writers = edge_count(architecture), 1 + architecture.n_layers * (architecture.n_heads + 1)
    if isinstance(patch.edges, EapIgGraph):
        sizes = [sum(edge.in_graph for edge in patch.edges.edges.values())]
    elif patch.edges is not None:
        sizes = [len(set(names)) for names in patch.edges.values()]
    else:
        sizes = [size for size, _ in asked_sizes(patch, n_edges)]
    per_test = {
        "completeness": sum(2 * (min(size, n_writers) + RANDOM_KNOCKOUTS) for size in sizes),
        "minimality": sum(
            (1 + RANDOM_REMOVALS) * (min(size, n_writers) + min(size, MOST_EDGES_REMOVED)) + RANDOM_REMOVALS
            for size in sizes
        ),
        "random": RANDOM_CIRCUITS * len(sizes),
    }
    return 3 + len(sizes) + (patch.verify or 0) + sum(per_test[test] for test in patch.tests)


def n_circuits(patch: CircuitPatch) -> int:
    """How many circuits a result has."""
    if isinstance(patch.edges, EapIgGraph):
        return 1
    if patch.edges is not None:
        return len(patch.edges)
    return 1 if patch.choice.by == "acdc" else len(asked_sizes(patch, 1))


def _labelled(patch: CircuitPatch, graph: CircuitGraph, chosen: Sequence[Members]) -> Iterator[Circuit]:
    if patch.choice.by == "acdc":
        (members,) = chosen
        yield Circuit("acdc", int(members.sum()), graph.pruned(members))
        return
    sizes = asked_sizes(patch, len(graph))
    for (size, fraction), members in zip(sizes, chosen, strict=True):
        yield Circuit(str(size), int(members.sum()), graph.pruned(members), fraction)


def chosen_members(patch: CircuitPatch, graph: CircuitGraph, scores: NDArray[np.floating]) -> list[Members]:
    """The circuits that some scores choose, one per size, before pruning."""
    key = key_of(scores, patch.choice.rank)
    return chosen_circuits(graph, key, patch.choice.by, [size for size, _ in asked_sizes(patch, len(graph))])


def _add_tests(patch: CircuitPatch, sets: EdgeSets) -> None:
    for index, circuit in enumerate(sets.circuits):
        draws = np.random.default_rng([patch.seed, index])
        is_tested = circuit.members.any()
        if "completeness" in patch.tests and is_tested:
            sets.completeness += _completeness(sets, index, circuit.members, draws)
        if "minimality" in patch.tests and is_tested:
            sets.minimality += _minimality(sets, index, circuit.members, draws)
        if "random" in patch.tests and circuit.n_chosen:
            for _ in range(RANDOM_CIRCUITS):
                drawn = greedy_edges(sets.graph, draws.random(len(sets.graph)), circuit.n_chosen)
                sets.random.append((index, sets.add(sets.graph.members(drawn))))


def _completeness(sets: EdgeSets, index: int, circuit: Members, draws: np.random.Generator) -> Iterator[Removal]:
    """Each node's outgoing edges in turn, then random edges of the circuit."""
    graph, everything = sets.graph, np.ones(len(circuit), dtype=bool)
    knocked = [(graph.writers[writer], graph.ends[0] == writer) for writer in np.unique(graph.ends[0][circuit])]
    knocked += [("random", _drawn(circuit, draws)) for _ in range(RANDOM_KNOCKOUTS)]
    for what, edges in knocked:
        yield Removal(index, what, sets.add(circuit & ~edges), sets.add(everything & ~edges))


def _drawn(circuit: Members, draws: np.random.Generator) -> Members:
    """Random edges of a circuit, few or many."""
    return circuit & (draws.random(len(circuit)) < draws.random())


def _minimality(sets: EdgeSets, index: int, circuit: Members, draws: np.random.Generator) -> Iterator[Removal]:
    """Each node but the input, then each edge: with nothing else removed, and with each set K."""
    graph, edges = sets.graph, np.flatnonzero(circuit)
    first = [_drawn(circuit, draws) for _ in range(RANDOM_REMOVALS)]
    if len(edges) > MOST_EDGES_REMOVED:
        edges = np.sort(draws.choice(edges, MOST_EDGES_REMOVED, replace=False))
    parts = [(graph.writers[writer], graph.ends[0] == writer) for writer in np.unique(graph.ends[0][circuit]) if writer]
    parts += [(graph.names[edge], graph.members([int(edge)])) for edge in edges]
    for what, own in parts:
        left = [circuit & ~edges for edges in first if (circuit & own & ~edges).any()]
        given = tuple((sets.add(rest), sets.add(rest & ~own)) for rest in left)
        yield Removal(index, what, sets.add(circuit & ~own), given=given)
