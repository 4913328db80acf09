"""A circuit that is known by construction: a two-layer model that does induction with weights written here.

Head 0.0 attends from every token to the one before it, and writes which that was. Head 1.0 looks for a token that stood
after one like the current token, and writes that one out. All other heads are idle, and MLPs are empty.
"""

from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.datasets import ResolvedDataset
from planning.architecture import Architecture
from planning.circuit import CircuitGraph
from tests.tiny_weights import result_of
from worker.engine.model import Weights

N_TOKENS, N_POS = 12, 8
TOKEN, POSITION = slice(0, N_TOKENS), slice(N_TOKENS, N_TOKENS + N_POS)
PREVIOUS = slice(POSITION.stop, POSITION.stop + N_TOKENS)
PREDICTED = slice(PREVIOUS.stop, PREVIOUS.stop + N_TOKENS)
D_MODEL = PREDICTED.stop
SHARP = 40.0
"""Large enough that a head attends to one token only."""
CIRCUIT = {"input->a0.h0<v>", "a0.h0->a1.h0<k>", "input->a1.h0<q>", "input->a1.h0<v>", "a1.h0->logits"}


def induction_model() -> Weights:
    """RMSNorm scales all rows alike, since each holds the same number of ones."""
    shape = {"n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "d_model": D_MODEL, "d_head": N_TOKENS, "d_mlp": 1}
    architecture = Architecture(**shape, n_ctx=N_POS, d_vocab=N_TOKENS, family="gpt2", norm="rms_norm")  # type: ignore[arg-type]
    n, h, d, k = 2, 2, D_MODEL, N_TOKENS
    eye, drawn = torch.eye(N_TOKENS), torch.Generator().manual_seed(0)
    W_Q, W_K, W_V = (torch.zeros(n, h, d, k) for _ in range(3))
    W_O = torch.zeros(n, h, k, d)
    for weight in (W_Q, W_K, W_V):
        weight[:, 1] = torch.randn(n, d, k, generator=drawn)  # idle: what they compute is not written
    W_Q[0, 0, POSITION, :N_POS] = SHARP * torch.eye(N_POS)
    W_K[0, 0, POSITION, :N_POS] = SHARP * torch.eye(N_POS).roll(1, dims=1)  # a key is found from one position later
    W_V[0, 0, TOKEN], W_O[0, 0, :, PREVIOUS] = eye, eye
    W_Q[1, 0, TOKEN], W_K[1, 0, PREVIOUS] = SHARP * eye, SHARP * eye
    W_V[1, 0, TOKEN], W_O[1, 0, :, PREDICTED] = eye, eye
    W_E, W_pos, W_U = torch.zeros(N_TOKENS, d), torch.zeros(N_POS, d), torch.zeros(d, N_TOKENS)
    W_E[:, TOKEN], W_pos[:, POSITION], W_U[PREDICTED] = eye, torch.eye(N_POS), eye
    return Weights(
        architecture=architecture,
        W_E=W_E, W_pos=W_pos, W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=W_O, W_U=W_U,
        b_Q=torch.zeros(n, h, k), b_K=torch.zeros(n, h, k), b_V=torch.zeros(n, h, k), b_O=torch.zeros(n, d),
        W_in=torch.zeros(n, d, 1), b_in=torch.zeros(n, 1), W_out=torch.zeros(n, 1, d), b_out=torch.zeros(n, d),
        ln1_w=torch.ones(n, d), ln1_b=torch.zeros(n, d), ln2_w=torch.ones(n, d), ln2_b=torch.zeros(n, d),
        ln_final_w=torch.ones(d), ln_final_b=torch.zeros(d), b_U=torch.zeros(N_TOKENS),
    )  # fmt: skip


def repeated_tokens() -> ResolvedDataset:
    """``0 A B C D A``, which B follows; new repeats others, so that it says nothing about A."""
    orig = [[0, 1, 2, 3, 4, 1], [0, 5, 4, 3, 1, 5], [0, 2, 5, 4, 3, 4]]
    new = [[0, 6, 7, 8, 9, 6], [0, 9, 8, 7, 6, 9], [0, 6, 7, 8, 9, 8]]
    return ResolvedDataset(orig=orig, new=new, roles={"end": [5, 5, 5]}, answers={"A": [2, 4, 3], "B": [7, 8, 9]})


CHOICES: list[dict[str, Any]] = [
    {"choose": {"by": "top", "edges": [5]}},
    {"choose": {"by": "greedy", "rank": "signed", "edges": [5]}},
    {"choose": {"by": "iterated", "edges": [5]}},
    {"choose": {"by": "acdc", "threshold": 0.01}},
]


@pytest.mark.parametrize("asked", CHOICES, ids=lambda asked: asked["choose"]["by"])
def test_the_circuit_found_is_the_one_that_was_built(asked: dict[str, Any]) -> None:
    """It alone does all that the model does, nothing outside it does anything, and every part of it is needed."""
    weights, dataset = induction_model(), repeated_tokens()
    patch = {"kind": "circuit", **asked, "tests": ["completeness", "minimality"]}
    result = result_of(weights, dataset, patch)
    (head,) = result.blocks
    graph, (circuit,) = CircuitGraph(weights.architecture), head["circuits"]
    assert {graph.names[edge] for edge in result.arrays["0/circuits/0/members"]} == CIRCUIT
    assert circuit["faithfulness"] == pytest.approx(1, abs=1e-5)
    assert head["tests"]["completeness"]["circuits"][0]["largest"] == pytest.approx(0, abs=1e-5)
    minimality = head["tests"]["minimality"]["circuits"][0]
    assert set(minimality["removed"]) >= CIRCUIT
    assert max(minimality["difference"]) < -0.1


def test_no_edge_outside_the_circuit_has_a_score() -> None:
    """Exact scores of single edges find the circuit alone."""
    weights = induction_model()
    result = result_of(weights, repeated_tokens(), {"kind": "circuit", "choose": {"edges": [5]}})
    graph, scores = CircuitGraph(weights.architecture), result.arrays["0/edges/scores"]
    inside = np.array([name in CIRCUIT for name in graph.names])
    assert scores[inside].max() < -0.1
    np.testing.assert_allclose(scores[~inside], 0, atol=1e-5)
