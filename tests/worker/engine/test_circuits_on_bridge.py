"""Circuits and exact scores against TransformerLens with plain hooks: random GPT-2s, random sets of edges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from planning.architecture import Architecture
from planning.circuit import CircuitGraph
from planning.circuit_nodes import reader_nodes, writer_nodes
from tests import reference
from tests.bridge_circuits import BridgeCircuit
from tests.bridges import boot_bridge
from tests.tiny_models import write_gpt2_folder
from tests.tiny_weights import prompts, result_of
from worker.engine import transformer
from worker.engine.edge_run import Base, circuit_run
from worker.engine.model import Weights
from worker.engine.runs import Runs, clean_runs
from worker.models.loading import load_model

SHAPE = Architecture(n_layers=3, n_heads=2, d_model=16, d_mlp=24, n_ctx=16, d_vocab=19)
TOLERANCE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Both = tuple[TransformerBridge, Weights]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """One random model in both hands."""
    root: Path = tmp_path_factory.mktemp("bridge-circuits")
    folder, spec = write_gpt2_folder(root / "model", SHAPE, seed=5, scale=0.35), ModelSpec(name="tiny")
    registry = {"tiny": ModelOrigin(name="tiny", folder=str(folder))}
    return boot_bridge(folder, spec), load_model("tiny", spec, registry, "cpu", root / "cache").weights


def tokens_of(dataset: ResolvedDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Both runs' tokens; the prompts are of one length."""
    return torch.tensor(dataset.orig), torch.tensor(dataset.new)


@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_a_random_circuit_gives_the_logits_of_the_recursion(both: Both, share: float) -> None:
    """Dead ends included, at every position."""
    model, weights = both
    dataset, graph = prompts([6, 6], seed=int(100 * share)), CircuitGraph(SHAPE)
    members = np.random.default_rng(int(100 * share)).random(len(graph)) < share
    kept = [name for name, is_kept in zip(graph.names, members, strict=True) if is_kept]
    expected = BridgeCircuit(model, *tokens_of(dataset), kept).logits()
    with torch.no_grad():
        base = Base(Runs(clean_runs(weights, dataset.orig, dataset.new)))
        resid = circuit_run(base, torch.from_numpy(graph.matrix(members))[None])[:, 0]
        found = transformer.unembed(weights, transformer.norm(weights, "ln_final", None, resid))
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_every_exact_score_is_one_edge_patched_hook_by_hook(both: Both) -> None:
    """Each alone, by the paper's algorithm with nothing between sender and receiver."""
    model, weights = both
    dataset, graph = prompts([6, 6], seed=2), CircuitGraph(SHAPE)
    scores = result_of(weights, dataset, {"kind": "circuit", "choose": {"edges": [0]}}).arrays["0/edges/scores"]
    orig, new = tokens_of(dataset)
    senders, receivers = writer_nodes(graph), reader_nodes(graph)
    receivers = [node.model_copy(update={"hook": "pre"}) if node.hook == "mlp_in" else node for node in receivers]

    def mean_difference(logits: torch.Tensor) -> float:
        first, second = (torch.tensor(dataset.answers[name])[:, None] for name in "AB")
        last = logits[:, -1]
        return float((last.gather(1, first) - last.gather(1, second)).mean())

    clean = mean_difference(reference.run(model, orig).logits)
    for edge in range(0, len(graph), 3):
        sender, receiver = senders[graph.ends[0][edge]], receivers[graph.ends[1][edge]]
        patched = reference.patch(model, orig, new, [sender], [receiver], direct_includes_mlps=False)
        np.testing.assert_allclose(scores[edge], mean_difference(patched.logits) - clean, **TOLERANCE)
