"""What the phases of a circuit job hand on, and how the outputs of shards become one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from api_schemas.circuits import CircuitPatch
from planning.circuit import CircuitGraph, Members
from planning.circuit_rounds import Rounds
from planning.circuit_sets import EdgeSets, edge_sets
from worker.jobs.moments import Moments, merged
from worker.jobs.records import Means, Numbers


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """Scores of the edges into some readers, over some examples."""

    start: int
    """Index of the first example in the whole dataset."""
    readers: tuple[int, int]
    """The first reader, and the last plus one."""
    moments: Moments
    """Over the examples, per edge, in the order of the model's edges."""
    resampled: Numbers | None = None
    """(resample, edge): sums over the examples, each as often as the resample has it."""
    resampled_counts: Numbers | None = None
    """(resample): how many examples it has."""


@dataclass(frozen=True, eq=False)
class CircuitInput:
    """What a phase gets from those before it."""

    means: Means = field(default_factory=Means)
    scores: EdgeScores | None = None
    rounds: Rounds | None = None
    """Where a choice in rounds stands; its last circuit is what the next round scores."""
    found: Numbers | None = None
    """(edge): what ACDC has kept so far."""
    parts: int = 0
    """Parts of ACDC's tests that have been made."""

    @property
    def candidates(self) -> list[Members]:
        """Circuits of a choice in rounds that are to be run before it goes on."""
        return [] if self.rounds is None else list(self.rounds.candidates)


@dataclass(frozen=True, eq=False)
class RunValues:
    """The metric of some edge sets, over some examples."""

    start: int
    sets: tuple[int, int]
    """The first edge set, and the last plus one."""
    values: Numbers
    """(edge set, example)"""
    orig: Numbers
    """(example)"""
    new: Numbers
    one_edge: float | None = None
    """How far a circuit run without one edge is from that edge's path patch; of the first example only."""


@dataclass(frozen=True, eq=False)
class Found:
    """What ACDC found."""

    kept: Numbers
    """(edge): whether the circuit has it."""


def sets_of(patch: CircuitPatch, graph: CircuitGraph, given: CircuitInput) -> EdgeSets:
    """Everything that a job runs, from what the phases before have found."""
    chosen = None
    if given.rounds is not None:
        chosen = given.rounds.circuits(patch, graph)
    elif given.found is not None:
        chosen = [given.found.astype(bool)]
    return edge_sets(patch, graph, None if given.scores is None else given.scores.moments.mean, chosen)


def merged_scores(graph: CircuitGraph, outputs: Sequence[EdgeScores]) -> EdgeScores:
    """All edges and examples together; outputs come by first example, then by readers."""
    parts = [_side_by_side(graph, list(own)) for _, own in groupby(outputs, key=lambda output: output.start)]
    moments = merged([part.moments for part in parts])
    resampled, counts = parts[0].resampled, parts[0].resampled_counts
    for part in parts[1:]:
        if resampled is not None and counts is not None:
            resampled, counts = resampled + part.resampled, counts + part.resampled_counts
    return EdgeScores(0, (0, len(graph.readers)), moments, resampled, counts)


def _side_by_side(graph: CircuitGraph, slices: list[EdgeScores]) -> EdgeScores:
    """Scores of all edges from those into a few readers each."""
    filled = [part for part in slices if part.moments.mean.size]
    if len(filled) == 1:
        return filled[0]
    order = np.concatenate([edges_into(graph, part.readers) for part in filled])

    def placed(parts: list[Numbers]) -> Numbers:
        joined = np.concatenate(parts, axis=-1)
        found = np.empty_like(joined)
        found[..., order] = joined
        return found

    moments = Moments(
        filled[0].moments.n,
        placed([part.moments.mean for part in filled]),
        placed([part.moments.m2 for part in filled]),
    )
    resampled = [part.resampled for part in filled if part.resampled is not None]
    return EdgeScores(
        filled[0].start,
        (0, len(graph.readers)),
        moments,
        placed(resampled) if resampled else None,
        filled[0].resampled_counts,
    )


def edges_into(graph: CircuitGraph, readers: tuple[int, int]) -> Numbers:
    """Indices of the edges into some readers."""
    ends = graph.ends[1]
    return np.flatnonzero((ends >= readers[0]) & (ends < readers[1]))


def merged_runs(outputs: Sequence[RunValues], n_sets: int) -> RunValues:
    """All edge sets and examples together; outputs come by first example, then by edge sets."""
    parts = []
    for _, own in groupby(outputs, key=lambda output: output.start):
        slices = list(own)
        values = np.concatenate([part.values for part in slices])
        parts.append((values, slices[0].orig, slices[0].new))
    values, orig, new = (np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
    return RunValues(0, (0, n_sets), values, orig, new, outputs[0].one_edge)
