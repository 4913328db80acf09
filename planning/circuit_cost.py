"""The price of a circuit job, by phase: (means,) scores, then the circuits and what tests compare them with."""

from collections.abc import Iterator

from api_schemas.circuits import CircuitPatch
from planning.acdc import PARTS
from planning.architecture import Architecture
from planning.circuit import CircuitGraph
from planning.circuit_rounds import MOST_CANDIDATES, n_rounds, targets
from planning.circuit_sets import most_runs

BACKWARD = 2.5
"""Cost of a backward pass with a gradient at every reader, in forward passes."""
ACDC_WASTE = 2.0
"""Tests of ACDC, in edges: those after an edge that stays are run again, and whole inputs are tested too."""
EDGE_RUN = 2.8
"""Cost of a run of all edges, in forward passes: every reader has an input of its own (2 at d_model 768, 4 at 64)."""


def circuit_phases(
    patch: CircuitPatch, architecture: Architecture, clean: float, exact: float, run: float, positions: int
) -> Iterator[float]:
    """Floating-point operations by phase.

    Args:
        clean: Of both clean runs.
        exact: Of every edge's patched run.
        run: Of one forward pass.
        positions: Tokens of one run.
    """
    graph = CircuitGraph(architecture)
    if patch.source == "mean":
        yield clean
    if patch.edges is None and patch.choice.by == "acdc":
        yield from [clean + ACDC_WASTE * len(graph) * EDGE_RUN * run / PARTS] * PARTS
    elif patch.method == "exact":
        yield clean + exact
    elif patch.method is not None:
        product = 2.0 * len(graph) * positions * architecture.d_model
        yield clean + max(patch.steps, 1) * (1 + BACKWARD) * run + product
    if patch.edges is None and patch.choice.by == "iterated":
        trial = clean + MOST_CANDIDATES * EDGE_RUN * run
        yield trial
        for size in [*targets(patch, len(graph)), *[1] * n_rounds(patch)][: n_rounds(patch) - 1]:
            whole = size if patch.method == "exact" else max(patch.steps, 1) * (1 + BACKWARD) + 1
            yield from (clean + EDGE_RUN * whole * run, trial)
    yield clean + most_runs(patch, architecture) * EDGE_RUN * run
