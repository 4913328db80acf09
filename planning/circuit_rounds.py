"""Choosing edges in rounds: score what is left in the circuit so far, drop the least in several ways, keep the best.

Where the least are those that hinder, edges that matter only together go early; where they are the weak ones, edges
that hold a circuit down stay for good. Which does less harm is seen only by running what each leaves.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from api_schemas.circuits import CircuitPatch
from planning.circuit import CircuitGraph, Members
from planning.circuit_choice import key_of
from planning.circuit_sets import asked_sizes

Numbers = NDArray[np.float64]
MOST_CANDIDATES = 8
"""Three ranks of two scores, and two of the first."""
TIE = 1e-5
"""Values this near, relative to the model's, are equal: float error decides nothing."""


def n_rounds(patch: CircuitPatch) -> int:
    """The most rounds of scoring: so many from each size to the next smaller one."""
    return patch.choice.rounds_per_size * len(asked_sizes(patch, 1))


def targets(patch: CircuitPatch, n_edges: int) -> list[int]:
    """How many edges to leave in each round, descending: every size that is asked for, but that of all edges."""
    found, before = [], n_edges
    for size in sorted({size for size, _ in asked_sizes(patch, n_edges)}, reverse=True):
        steps = np.geomspace(max(before, 1), max(size, 1), patch.choice.rounds_per_size + 1)[1:]
        found += [*(round(float(step)) for step in steps[:-1]), size]
        before = size
    return [size for size, above in zip(found, [n_edges, *found], strict=False) if size < above]


@dataclass(frozen=True, eq=False)
class Rounds:
    """Where the choice stands."""

    members: Members
    """The circuit so far, without dead ends."""
    chosen: Members
    """(size, edge): the circuit of each size that has been reached, in the order of ``targets``."""
    total: Numbers
    """(edge): its scores in all rounds, added."""
    counts: Numbers
    """(edge): in how many rounds it had one."""
    candidates: Members
    """(candidate, edge): circuits of the next size, of which the best is kept once they have run; or none."""

    def scored(
        self, patch: CircuitPatch, graph: CircuitGraph, scores: NDArray[np.floating], first: NDArray[np.floating]
    ) -> "Rounds":
        """The state with candidates for the next size, or beyond it if there is one alone.

        Args:
            scores: Mean over the examples, in the circuit so far.
            first: The same in the whole model.
        """
        total, counts = self.total + scores, self.counts + self.members
        if self.is_done(patch, graph):
            return self
        size = targets(patch, len(graph))[len(self.chosen)]
        left = [_largest(self.members, key, size) for key in _keys([scores, total / np.maximum(counts, 1)], patch)]
        left += [_largest(np.ones_like(self.members), key_of(first, rank), size) for rank in ("signed", "absolute")]
        found = {np.packbits(members).tobytes(): members for members in map(graph.pruned, left)}
        state = replace(self, total=total, counts=counts, candidates=np.array([*found.values()]))
        return state if len(found) > 1 else state.settled(patch, np.zeros(1), 0.0)

    def settled(self, patch: CircuitPatch, values: Numbers, model: float) -> "Rounds":
        """The state once the best candidate is the circuit of its size.

        Args:
            values: The mean metric of each candidate.
            model: That of the whole model.
        """
        merit = values if patch.choice.rank == "signed" else -np.abs(values - model)
        best = self.candidates[int(np.argmax(merit >= merit.max() - TIE * abs(model)))]
        return replace(self, members=best, chosen=np.array([*self.chosen, best]), candidates=self.candidates[:0])

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
    nothing, none = np.zeros(len(graph)), np.zeros((0, len(graph)), dtype=bool)
    return Rounds(np.ones(len(graph), dtype=bool), none, nothing, nothing, none)


def _keys(scores: list[NDArray[np.floating]], patch: CircuitPatch) -> Iterator[Numbers]:
    """Scores ranked as is asked for; the other way; and with edges that hinder among those that do nothing."""
    others = {"signed": "absolute", "absolute": "signed"}
    for own in scores:
        yield key_of(own, patch.choice.rank)
        yield key_of(own, others[patch.choice.rank])
        yield np.maximum(key_of(own, "signed"), 0)


def _largest(members: Members, key: NDArray[np.float64], size: int) -> Members:
    """The edges of the circuit with the largest keys."""
    inside = np.flatnonzero(members)
    kept = inside[np.argsort(-key[inside], kind="stable")[:size]]
    found = np.zeros_like(members)
    found[kept] = True
    return found
