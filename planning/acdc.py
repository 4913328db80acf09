"""ACDC's choice: from the logits back, an edge goes for good if the metric changes by less than a threshold.

Source: Conmy et al. 2023, arXiv:2304.14997. The order is that of their code.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from planning.circuit import CircuitGraph, Indices, Members

ValuesOf = Callable[[list[Members]], NDArray[np.float64]]
"""The mean metric of circuits."""
MOST_AT_ONCE = 64
PARTS = 8
"""The tests in parts of about as many edges: a job tells its progress after each."""


def acdc(
    graph: CircuitGraph,
    threshold: float,
    is_absolute: bool,
    values_of: ValuesOf,
    kept: Members | None = None,
    part: int | None = None,
) -> Members:
    """The edges that are kept.

    Args:
        is_absolute: Whether a rise of the metric by the threshold keeps an edge too, or only a fall.
        kept: What the parts before have kept; all edges by default.
        part: Which of ``PARTS`` parts of the tests are made; by default all of them.
    """
    kept = np.ones(len(graph), dtype=bool) if kept is None else kept
    (value,) = values_of([kept])
    for candidates in candidates_in_order(graph) if part is None else candidates_of_part(graph, part):
        kept, value = _without(graph, candidates, threshold, is_absolute, values_of, kept, float(value))
    return kept


def _without(
    graph: CircuitGraph,
    candidates: Sequence[Indices],
    threshold: float,
    is_absolute: bool,
    values_of: ValuesOf,
    kept: Members,
    value: float,
) -> tuple[Members, float]:
    """The circuit after some candidates, each tested on what the tests before it left, and its metric.

    Shortcut: several are tested at once, each as if all before it went; what follows one that stays is tested again.
    """
    waiting, at_once = list(candidates), MOST_AT_ONCE
    while waiting:
        sets: list[Members] = []
        for edges in waiting[:at_once]:
            following = (sets[-1] if sets else kept).copy()
            following[edges] = False
            sets.append(following)
        values = values_of(sets)
        changes = np.concatenate([[value], values[:-1]]) - values
        stays = np.flatnonzero((np.abs(changes) if is_absolute else changes) >= threshold)
        gone = int(stays[0]) if len(stays) else len(sets)
        if gone:
            kept, value = sets[gone - 1], float(values[gone - 1])
        waiting = waiting[gone + 1 :] if len(stays) else waiting[gone:]
        at_once = min(2 * at_once, MOST_AT_ONCE) if not len(stays) else max(1, min(2 * gone, MOST_AT_ONCE))
    return kept, value


def candidates_of_part(graph: CircuitGraph, part: int) -> Iterator[list[Indices]]:
    """Of ``candidates_in_order``, those of one part."""
    groups = list(candidates_in_order(graph))
    done = np.cumsum([0, *(sum(map(len, group)) for group in groups)])
    for group, before in zip(groups, done[:-1], strict=True):
        if before * PARTS // done[-1] == part:
            yield group


def candidates_in_order(graph: CircuitGraph) -> Iterator[list[Indices]]:
    """What is tested: single edges, and before those into a layer's heads each whole input at once."""
    size, n_heads = graph.readers_per_layer, graph.architecture.n_heads
    yield _into(graph, len(graph.readers) - 1)
    for layer in range(graph.architecture.n_layers - 1, -1, -1):
        yield _into(graph, layer * size + size - 1)
        inputs = [layer * size + 3 * head + part for part in (2, 1, 0) for head in range(n_heads - 1, -1, -1)]
        yield [np.concatenate(_into(graph, reader)) for reader in inputs]
        for reader in inputs:
            yield _into(graph, reader)


def _into(graph: CircuitGraph, reader: int) -> list[Indices]:
    """The edges into a reader, one by one: late layers first, each layer's MLP before its heads, the input last."""
    per_layer = graph.architecture.n_heads + 1
    writers = range(graph.writers_before(reader))

    def order(writer: int) -> tuple[int, int, int]:
        layer, unit = divmod(writer - 1, per_layer)
        return (-layer if writer else 1, 0 if unit == per_layer - 1 else 1, unit)

    return [np.array([graph.index[reader, writer]]) for writer in sorted(writers, key=order)]
