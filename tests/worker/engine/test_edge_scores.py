"""Scores of every edge against EAP-IG's figures: exact ones by the sweep, and first-order estimates."""

import numpy as np
import pytest
import torch

from api_schemas.metrics import LogitDiff
from planning.circuit import CircuitGraph
from planning.graph import Graph
from planning.grid import edge_grid
from planning.plan import plan_path_patch
from planning.prompts import Places, readings_of
from tests import golden_circuits
from worker.engine.circuit_scores import circuit_estimates
from worker.engine.edge_run import Base, circuit_run
from worker.engine.edge_scores import edge_estimates
from worker.engine.metrics import prepare_reads
from worker.engine.model import Weights
from worker.engine.runs import Runs, clean_runs
from worker.engine.sweep import Batch, all_cells, patch_paths


def batch_of(weights: Weights) -> Batch:
    dataset = golden_circuits.dataset()
    readings = readings_of([LogitDiff.model_validate(golden_circuits.METRIC)], dataset)
    runs = Runs(clean_runs(weights, dataset.orig, dataset.new))
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
    places = Places(None, dataset, Graph(golden_weights.architecture), source="new")
    grid = edge_grid(graph)
    passes = plan_path_patch(grid, places, batch.reads.readings)
    with torch.no_grad():
        found = (found for one in passes for found in patch_paths(batch, one, False, False))
    (values,) = all_cells(batch, len(graph.writers), found)
    writers, readers = graph.ends
    golden = golden_circuits.scores()
    np.testing.assert_allclose(values[:, writers, readers].T, golden["exact_patched"], atol=1e-4)


@pytest.mark.parametrize(("name", "steps"), [("eap", 0), ("eap_ig_5", 5)])
def test_scores_in_the_run_of_all_edges_are_those_of_eap_ig(golden_weights: Weights, name: str, steps: int) -> None:
    """Scores on a circuit are the same thing with fewer edges."""
    batch, graph = batch_of(golden_weights), CircuitGraph(golden_weights.architecture)
    everything = torch.from_numpy(graph.matrix(np.ones(len(graph), dtype=bool)))
    assert batch.reads.logits is not None
    with torch.no_grad():
        found = circuit_estimates(Base(batch.runs), everything, batch.reads.logits, steps)
    np.testing.assert_allclose(found.mean(dim=0), golden_circuits.scores()[name], atol=1e-5)


def test_scores_on_a_circuit_are_the_slope_of_removing_an_edge(golden_weights: Weights) -> None:
    """Edges are removed in part: by the difference of fourth order."""
    batch, graph = batch_of(golden_weights), CircuitGraph(golden_weights.architecture)
    weights64 = golden_weights.to(dtype=torch.float64)
    dataset = golden_circuits.dataset()
    runs = Runs(clean_runs(weights64, dataset.orig, dataset.new))
    reads = prepare_reads(runs, batch.reads.readings, [[]])
    members = graph.members(golden_circuits.read("completeness")["circuit"])
    matrix = torch.from_numpy(graph.matrix(members))
    assert reads.logits is not None
    with torch.no_grad():
        found = circuit_estimates(Base(runs), matrix, reads.logits)
        for edge in np.flatnonzero(members)[::12]:
            reader, writer = int(graph.ends[1][edge]), int(graph.ends[0][edge])
            values = []
            for step in (1e-3, -1e-3):
                partly = matrix.double()
                partly[reader, writer] -= step
                resid = circuit_run(Base(runs), partly[None])
                (value,) = reads.logits.values(weights64, reads.logits.rows.take(resid[:, 0])[:, None]).values()
                values.append(value)
            slope = (values[0] - values[1])[:, 0] / 2e-3
            np.testing.assert_allclose(found[:, edge], slope, atol=1e-3, rtol=1e-2)
