"""ACDC's order and rule, on metrics that are sums over edges."""

import numpy as np

from planning.acdc import PARTS, acdc, candidates_in_order
from planning.architecture import Architecture
from planning.circuit import CircuitGraph, Members

GRAPH = CircuitGraph(Architecture(2, 3, 12, 8, n_ctx=8, d_vocab=9))


def test_every_edge_is_tested_alone_once() -> None:
    """Whole inputs come in between."""
    single = [int(edges[0]) for group in candidates_in_order(GRAPH) for edges in group if len(edges) == 1]
    whole = [edges for group in candidates_in_order(GRAPH) for edges in group if len(edges) > 1]
    assert set(single) == set(range(len(GRAPH)))
    assert sum(map(len, whole)) <= len(GRAPH)
    assert GRAPH.names[single[0]] == "m1->logits"


def test_an_additive_metric_keeps_what_is_above_the_threshold() -> None:
    """However many are tested at once."""
    weights = np.random.default_rng(0).normal(size=len(GRAPH))

    def values_of(sets: list[Members]) -> np.ndarray:
        return np.array([weights[kept].sum() for kept in sets])

    no_whole_input_goes = acdc(GRAPH, -1e9, False, values_of)
    assert no_whole_input_goes.all()
    signed, absolute = (acdc(GRAPH, 0.5, is_absolute, values_of) for is_absolute in (False, True))
    gone_with_others = sum(
        (weights[edges].sum() < 0.5) * len(edges) for group in candidates_in_order(GRAPH) for edges in group
    )
    assert gone_with_others
    assert not (signed & (weights < 0.5)).any()
    assert not (absolute & (np.abs(weights) < 0.5)).any()


def test_in_parts_the_same_edges_stay() -> None:
    """A job makes the tests part by part, so that it can tell how far it is."""
    weights = np.random.default_rng(1).normal(size=len(GRAPH))

    def values_of(sets: list[Members]) -> np.ndarray:
        return np.array([weights[kept].sum() ** 2 for kept in sets])

    kept = None
    for part in range(PARTS):
        kept = acdc(GRAPH, 0.5, True, values_of, kept, part)
    assert kept is not None
    assert (kept == acdc(GRAPH, 0.5, True, values_of)).all()
    assert 0 < kept.sum() < len(GRAPH)
