"""Which edges a circuit of some size has, by their scores; and what its faithfulness says over all sizes."""

import heapq
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from planning.circuit import CircuitGraph, Indices, Members

Numbers = NDArray[np.float64]
MIB_FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Of a model's edges: the grid of the MIB benchmark."""


def key_of(scores: NDArray[np.floating], rank: str) -> Numbers:
    """What edges are ranked by, largest first.

    Args:
        scores: The metric's change when the edge alone is patched: edges that help are negative.
        rank: ``signed`` puts helpful edges first, ``absolute`` strong ones.
    """
    wide = scores.astype(np.float64)
    return np.asarray(-wide if rank == "signed" else np.abs(wide))


def sizes_of(fractions: Sequence[float], n_edges: int) -> list[int]:
    """Numbers of edges, rounded down as MIB does."""
    return [int(fraction * n_edges) for fraction in fractions]


def top_edges(key: Numbers) -> Indices:
    """All edges, largest key first; ties in the edges' own order."""
    return np.argsort(-key, kind="stable")


def greedy_edges(graph: CircuitGraph, key: Numbers, most: int) -> Indices:
    """Edges in the order in which they join from ``logits`` on: of those into reached nodes always the largest.

    Source: EAP-IG's ``apply_greedy``.
    """
    writers, readers = graph.ends
    into: list[list[int]] = [[] for _ in graph.nodes]
    for edge, node in enumerate(graph.node_of_reader[readers].tolist()):
        into[node].append(edge)
    queue = [(-key[edge], edge) for edge in into[-1]]
    heapq.heapify(queue)
    reached = {len(graph.nodes) - 1}
    taken: list[int] = []
    while queue and len(taken) < most:
        _, edge = heapq.heappop(queue)
        taken.append(edge)
        if (node := int(writers[edge])) not in reached:
            reached.add(node)
            for other in into[node]:
                heapq.heappush(queue, (-key[other], other))
    return np.array(taken, dtype=np.int64)


def chosen_circuits(graph: CircuitGraph, key: Numbers, by: str, sizes: Sequence[int]) -> list[Members]:
    """One circuit per size, before pruning."""
    order = top_edges(key) if by == "top" else greedy_edges(graph, key, max(sizes, default=0))
    return [graph.members(order[:size]) for size in sizes]


def faithfulness(value: NDArray[np.floating], nothing: float, everything: float) -> Numbers:
    """``(F(C) - F(none)) / (F(all) - F(none))``, of means over the examples: 0 is the empty circuit, 1 the model."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((value.astype(np.float64) - nothing) / (everything - nothing))


def cpr(fractions: Sequence[float], values: Numbers) -> float:
    """MIB's circuit performance ratio: the area under faithfulness; higher is better, and it may exceed 1."""
    return _area(fractions, values)


def cmd(fractions: Sequence[float], values: Numbers) -> float:
    """MIB's circuit-model distance: the area under ``|1 - faithfulness|``; 0 is best."""
    return _area(fractions, np.abs(1 - values))


def _area(fractions: Sequence[float], values: Numbers) -> float:
    """Trapezoids over the fractions in ascending order."""
    order = np.argsort(fractions, kind="stable")
    at, of = np.asarray(fractions, dtype=np.float64)[order], values[order]
    return float(((of[1:] + of[:-1]) / 2 * np.diff(at)).sum())


def mean_jaccard(circuits: Sequence[Members]) -> float:
    """Mean over pairs of shared edges by edges of either; 1 if all are the same."""
    pairs = [(one & other).sum() / max((one | other).sum(), 1) for one, other in combinations(circuits, 2)]
    return float(np.mean(pairs)) if pairs else 1.0
