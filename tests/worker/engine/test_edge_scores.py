"""Scores of every edge against EAP-IG's figures: exact ones by the sweep, and first-order estimates."""

import numpy as np
import pytest
import torch

from api_schemas.metrics import LogitDiff
from planning.circuit import CircuitGraph
from planning.graph import Graph
from planning.grid import edge_grid
from planning.plan import plan_path_patch
from planning.positions import ChangedPlaces
from planning.readings import readings_of
from tests import golden_circuits
from worker.engine.edge_scores import edge_estimates
from worker.engine.model import Weights
from worker.engine.reads import prepare_reads
from worker.engine.runs import Activations, Runs, stack_tokens
from worker.engine.sweep import Batch, sweep_paths


def batch_of(weights: Weights) -> Batch:
    dataset = golden_circuits.dataset()
    readings = readings_of([LogitDiff.model_validate(golden_circuits.METRIC)], dataset)
    runs = Runs(Activations(weights, stack_tokens(dataset.orig, dataset.new, weights.device)))
    cells = [[] for _ in CircuitGraph(weights.architecture).readers]  # type: ignore[var-annotated]
    return Batch(runs, prepare_reads(runs, readings, cells), 4000)


@pytest.mark.parametrize(("name", "steps"), [("eap", 0), ("eap_ig_5", 5), ("eap_ig_20", 20)])
def test_estimates_are_those_of_eap_ig(golden_weights: Weights, name: str, steps: int) -> None:
    """Patched minus orig: edges that help are negative."""
    batch = batch_of(golden_weights)
    assert batch.reads.logits is not None
    with torch.no_grad():
        found = edge_estimates(batch.runs, batch.reads.logits, steps)
    np.testing.assert_allclose(found.mean(dim=0), golden_circuits.scores()[name], atol=1e-5)


def test_exact_scores_are_those_of_eap_ig(golden_weights: Weights) -> None:
    """Each edge alone takes its value from new."""
    batch, graph = batch_of(golden_weights), CircuitGraph(golden_weights.architecture)
    dataset = golden_circuits.dataset()
    places = ChangedPlaces(None, dataset, Graph(golden_weights.architecture), source_is_new=True)
    grid = edge_grid(graph)
    passes = plan_path_patch(grid, places, batch.reads.readings)
    with torch.no_grad():
        (values,) = sweep_paths(batch, passes, len(graph.writers), False, False)
    writers, readers = graph.ends
    golden = golden_circuits.scores()
    np.testing.assert_allclose(values[:, writers, readers].T, golden["exact_patched"], atol=1e-4)
