"""Choosing edges round by round: score what remains in the circuit so far, drop the least, go on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api_schemas.circuits import CircuitPatch
from planning.circuit import CircuitGraph, Members
from planning.circuit_choice import key_of
from planning.circuit_sets import asked_sizes


def n_rounds(patch: CircuitPatch) -> int:
    """The most rounds of scoring: so many from each size to the next smaller one."""
    return patch.choice.rounds_per_size * len(asked_sizes(patch, 1))


def targets(patch: CircuitPatch, n_edges: int) -> list[int]:
    """How many edges to leave in each round, descending, every size that is asked for among them."""
    found, before = [], n_edges
    for size in sorted({size for size, _ in asked_sizes(patch, n_edges)}, reverse=True):
        steps = np.geomspace(max(before, 1), max(size, 1), patch.choice.rounds_per_size + 1)[1:]
        found += [*(round(float(step)) for step in steps[:-1]), size]
        before = size
    return [size for index, size in enumerate(found) if index == 0 or size < found[index - 1]]


@dataclass(frozen=True, eq=False)
class Rounds:
    """Where the choice stands."""

    members: Members
    """The circuit so far, without dead ends."""
    chosen: NDArray[np.bool_]
    """(size, edge): the circuit of each size that has been reached, in the order of ``targets``."""

    def after(self, patch: CircuitPatch, graph: CircuitGraph, scores: NDArray[np.floating]) -> "Rounds":
        """The state once one more drop has been made, and every target that it also meets."""
        sizes = targets(patch, len(graph))
        chosen, members, has_dropped = list(self.chosen), self.members, False
        for size in sizes[len(chosen) :]:
            if members.sum() > size:
                if has_dropped:
                    break
                members, has_dropped = graph.pruned(_largest(members, key_of(scores, patch.choice.rank), size)), True
            chosen.append(members)
        return Rounds(members, np.array(chosen, dtype=bool).reshape(len(chosen), len(graph)))

    def is_done(self, patch: CircuitPatch, graph: CircuitGraph) -> bool:
        """Whether every size has its circuit."""
        return len(self.chosen) == len(targets(patch, len(graph)))

    def circuits(self, patch: CircuitPatch, graph: CircuitGraph) -> list[Members]:
        """The circuit of every size that was asked for, in that order."""
        sizes = targets(patch, len(graph))
        everything = np.ones(len(graph), dtype=bool)
        return [
            self.chosen[sizes.index(size)] if size in sizes else everything
            for size, _ in asked_sizes(patch, len(graph))
        ]


def at_start(graph: CircuitGraph) -> Rounds:
    """All edges."""
    return Rounds(np.ones(len(graph), dtype=bool), np.zeros((0, len(graph)), dtype=bool))


def _largest(members: Members, key: NDArray[np.float64], size: int) -> Members:
    """The edges of the circuit with the largest keys."""
    inside = np.flatnonzero(members)
    kept = inside[np.argsort(-key[inside], kind="stable")[:size]]
    found = np.zeros_like(members)
    found[kept] = True
    return found
