"""Circuit runs: against EAP-IG's figures, and against a plain recursion over hooks."""

import numpy as np
import torch

from api_schemas.datasets import ResolvedDataset
from planning.circuit import CircuitGraph
from tests import golden_circuits
from worker.engine.edge_run import Base, circuit_run
from worker.engine.edge_sums import EdgeSums, TracedSums
from worker.engine.model import Weights
from worker.engine.runs import Runs, clean_runs

TOLERANCE = 1e-4


def base_of(weights: Weights, dataset: ResolvedDataset) -> Base:
    """The base ``new``."""
    return Base(Runs(clean_runs(weights, dataset.orig, dataset.new)))


def golden_metric(weights: Weights, resid: torch.Tensor) -> np.ndarray:
    """(cell, example): logit of IO minus logit of S at the last position."""
    from worker.engine import transformer

    tokens = golden_circuits.dataset()
    logits = transformer.unembed(weights, transformer.norm(weights, "ln_final", None, resid[:, :, -1]))
    rows = torch.arange(len(tokens))
    return (logits[rows, :, tokens.answers["IO"]] - logits[rows, :, tokens.answers["S"]]).T.numpy()


def golden_values(weights: Weights, sets: list[list[int]]) -> np.ndarray:
    """F of edge sets, per example."""
    graph = CircuitGraph(weights.architecture)
    matrices = torch.from_numpy(graph.matrix(np.stack([graph.members(edges) for edges in sets])))
    with torch.no_grad():
        return golden_metric(weights, circuit_run(base_of(weights, golden_circuits.dataset()), matrices))


def test_edge_sets_have_the_values_of_eap_ig(golden_weights: Weights) -> None:
    """Twenty arbitrary sets, dead ends included, in one batch."""
    golden = golden_circuits.read("edge_sets")
    values = golden_values(golden_weights, [one["edges"] for one in golden])
    np.testing.assert_allclose(values, [one["metric_per_example"] for one in golden], atol=TOLERANCE)


def test_chosen_circuits_have_the_values_of_eap_ig(golden_weights: Weights) -> None:
    """All that were evaluated, of every method."""
    golden = [one for one in golden_circuits.read("circuits")["circuits"] if "chosen" in one]
    values = golden_values(golden_weights, [one["chosen"] for one in golden])
    np.testing.assert_allclose(values, [one["metric_per_example"] for one in golden], atol=TOLERANCE)


def test_all_edges_are_orig_and_none_are_new(golden_weights: Weights) -> None:
    """The ends of every curve."""
    n_edges = len(CircuitGraph(golden_weights.architecture))
    values = golden_values(golden_weights, [list(range(n_edges)), []])
    scores = golden_circuits.scores()
    np.testing.assert_allclose(values, [scores["clean"], scores["corrupted"]], atol=TOLERANCE)


def test_one_edge_removed_is_the_path_patch_of_that_edge(golden_weights: Weights) -> None:
    """Exact scores, by way of circuits."""
    n_edges = len(CircuitGraph(golden_weights.architecture))
    chosen = list(range(0, n_edges, 7))
    values = golden_values(golden_weights, [[e for e in range(n_edges) if e != edge] for edge in chosen])
    np.testing.assert_allclose(values, golden_circuits.scores()["exact_patched"][chosen], atol=TOLERANCE)


def test_a_run_leaves_nothing_behind_for_the_next_on_its_base(golden_weights: Weights) -> None:
    """Runs use the same memory one after another, whether they need more or less of it."""
    graph, dataset = CircuitGraph(golden_weights.architecture), golden_circuits.dataset()
    draws = np.random.default_rng(0)
    shared = base_of(golden_weights, dataset)
    for n_cells, share in ((1, 0.1), (3, 0.9), (2, 0.1), (1, 0.0)):
        sets = torch.from_numpy(graph.matrix(draws.random((n_cells, len(graph))) < share))
        with torch.no_grad():
            found, alone = circuit_run(shared, sets), circuit_run(base_of(golden_weights, dataset), sets)
        assert torch.equal(found, alone)


def test_readers_of_the_same_edges_are_read_once(golden_weights: Weights) -> None:
    """In every cell the same, so that one of them stands for all; with gradients each keeps an addend of its own."""
    like = torch.zeros(1, 2, golden_weights.architecture.d_model)
    sets = torch.tensor([[[1, 0], [1, 1], [1, 0], [1, 1]], [[0, 1], [1, 1], [0, 1], [1, 0]]], dtype=torch.bool)
    assert EdgeSums(sets, like).distinct([0, 1, 2, 3]) == ([0, 1, 3], [0, 1, 0, 2])
    assert TracedSums(sets, like).distinct([0, 2]) == ([0, 2], [0, 1])
