"""Every cell of a sweep equals its own single patch: sweeps share work, and none of it may leak."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from api_schemas.nodes import Node
from planning.grid import grid_of
from tests.tiny_weights import LOGIT_DIFF, job, node, patched, prompts, result_of, tiny_weights
from worker.engine.model import Weights

OWN_ATTENTION = {"kind": "attention_diff", "query": "end", "key": "first", "minus_key": "middle"}
A_HEAD = {**OWN_ATTENTION, "head": {"layer": 2, "head": 1}}
HEADS: dict[str, Any] = {"sweep": {"hook": "z"}}
ONE_QUERY, FOUR = [node("q", 2, head=1)], [node("v", 1, head=0), node("v", 1, head=1), node("v", 2, head=0)]
PATHS = [  # each line another path of the planner
    (HEADS, ONE_QUERY, OWN_ATTENTION),
    (HEADS, [node("k", 2, head=1)], OWN_ATTENTION),
    (HEADS, [node("pattern", 2, head=1)], OWN_ATTENTION),
    (HEADS, [node("resid_post", 2)], LOGIT_DIFF),
    (HEADS, [node("resid_pre", 2)], A_HEAD),
    (HEADS, [node("q", 1)], A_HEAD),
    (HEADS, FOUR, LOGIT_DIFF),
    (HEADS, [node("q", 2)], LOGIT_DIFF),
    (HEADS, [node("k", 2)], LOGIT_DIFF),
    (HEADS, [node("k", 1, head=0), node("pre", 2)], {"kind": "loss"}),
    ({"sweep": {"hook": "post", "neurons": [0, 5]}}, [node("pre", 2, neuron=1)], LOGIT_DIFF),
    ({"sweep": {"hook": ["attn_out", "mlp_out"]}}, [node("resid_mid", 2)], {"kind": "kl"}),
    ({"sweep": {"hook": "z", "heads": "joint", "positions": ["first", "end"]}}, ONE_QUERY, OWN_ATTENTION),
    ({"sweep": {"hook": "resid_post", "positions": "each"}}, [node("v", 2)], LOGIT_DIFF),
    ([node("z", 0), node("mlp_out", 1)], {"sweep": {"hook": ["q", "k", "v"]}}, LOGIT_DIFF),
    ([node("z", 0), node("mlp_out", 1)], {"sweep": {"hook": ["resid_pre", "resid_mid", "resid_post"]}}, LOGIT_DIFF),
    ([node("embed")], {"sweep": {"hook": "pre", "neurons": [2, 3]}}, LOGIT_DIFF),
    ([node("embed")], {"sweep": {"hook": "pattern", "positions": ["end"]}}, OWN_ATTENTION),
    (HEADS, {"sweep": {"hook": ["q", "k"]}}, OWN_ATTENTION),
    (HEADS, {"sweep": {"hook": ["q", "k", "v"]}}, A_HEAD),
    (HEADS, {"sweep": {"hook": "v", "layers": [2, 1]}}, LOGIT_DIFF),
]


def single_cells(weights: Weights, dataset: Any, patch: dict[str, Any], metric: Any) -> np.ndarray:
    """The same grid, one job per cell."""
    grid = grid_of(job(dataset, patch, metric).patch, weights.architecture, dataset.longest)

    def listed(cell: list[Node]) -> list[dict[str, Any]]:
        return [nodes.model_dump() for nodes in cell]

    values = []
    for senders, receivers in product(grid.senders.cells, grid.receivers.cells if grid.receivers else [None]):
        ends = (
            {"nodes": listed(senders)}
            if receivers is None
            else {"senders": listed(senders), "receivers": listed(receivers)}
        )
        values.append(patched(weights, dataset, {**patch, **ends}, metric))
    return np.stack(values).reshape(*grid.shape, -1)


@pytest.mark.parametrize("through_mlps", [False, True], ids=["skip-only", "through-mlps"])
@pytest.mark.parametrize(("senders", "receivers", "metric"), PATHS)
def test_a_sweep_equals_its_cells_one_by_one(senders: Any, receivers: Any, metric: Any, through_mlps: bool) -> None:
    """On every path of the planner."""
    weights, dataset = tiny_weights(), prompts([5, 4])
    patch = {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps}
    swept = patched(weights, dataset, patch, metric)
    np.testing.assert_allclose(swept, single_cells(weights, dataset, patch, metric), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", ["new", "zero", "mean"])
@pytest.mark.parametrize(
    "sweep",
    [
        {"hook": "resid_pre", "positions": "each"},
        {"hook": ["z", "q", "k", "v", "pattern"]},
        {"hook": ["attn_out", "mlp_out", "resid_mid", "resid_post"], "positions": ["middle", 0]},
        {"hook": ["pre", "post"], "neurons": [1, 7]},
    ],
    ids=str,
)
def test_a_sweep_of_activations_equals_its_cells_one_by_one(sweep: dict[str, Any], source: str) -> None:
    """The pictures by layer and position."""
    weights, dataset = tiny_weights(), prompts([5, 4, 5])
    patch = {"kind": "activation", "nodes": {"sweep": sweep}, "source": source}
    metrics = [LOGIT_DIFF, A_HEAD]
    swept = patched(weights, dataset, patch, metrics)
    singles = single_cells(weights, dataset, patch, metrics).reshape(swept.shape)
    np.testing.assert_allclose(swept, singles, atol=1e-5, rtol=1e-5)


def test_an_unreachable_cell_equals_orig_and_is_marked() -> None:
    """Not computed is not the same as no effect: the result says which is which."""
    patch = {"senders": HEADS, "receivers": {"sweep": {"hook": "q"}}}
    arrays = result_of(tiny_weights(), prompts([5, 4]), patch, OWN_ATTENTION).arrays
    reachable = arrays["0/reachable"]
    layers = np.arange(3)
    np.testing.assert_array_equal(reachable[:, 0, :, 0], layers[:, None] < layers[None, :])
    np.testing.assert_array_equal(arrays["0/patched"][~reachable], arrays["0/orig"][~reachable])
    assert np.abs((arrays["0/patched"] - arrays["0/orig"])[reachable]).max() > 1e-3


def test_several_metrics_of_one_run_equal_each_alone() -> None:
    """What one metric needs must not disturb another."""
    metrics = [LOGIT_DIFF, A_HEAD, {"kind": "loss"}, {"kind": "prob", "answer": "B", "position": "middle"}]
    patch = {"senders": HEADS, "receivers": FOUR}
    together = result_of(tiny_weights(), prompts([5, 4]), patch, metrics).arrays
    for number, metric in enumerate(metrics):
        alone = result_of(tiny_weights(), prompts([5, 4]), patch, metric).arrays
        np.testing.assert_allclose(together[f"{number}/patched"], alone["0/patched"], atol=1e-5, rtol=1e-5)
