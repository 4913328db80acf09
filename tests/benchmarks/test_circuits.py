"""The table of circuits: its bars, the products that runs need, and that the page shows the kept figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import circuits
from benchmarks import page as page_marks
from benchmarks.circuits import SMALL, own_pass_flops, prompts, run_flops, table, verdict
from benchmarks.page import END, begin_of, write_table
from planning.circuit import CircuitGraph
from tests.random_families import random_weights
from worker.engine import edge_sums
from worker.engine.edge_run import Base, circuit_run
from worker.engine.rows import rows_of
from worker.engine.runs import Runs, clean_runs

FOLDER = Path(circuits.__file__).parent


@pytest.mark.parametrize(
    ("key", "row", "met"),
    [
        ("attribution", {"forwards": 5.9, "own_passes": 8.0}, "yes"),
        ("circuit_run_1000", {"forwards": 0.71, "own_passes": 0.9, "products_own_passes": 0.5}, "NO"),
        ("two_workers", {"efficiency": 0.89}, "NO"),
        ("memory", {"peak_bytes": 9, "budget_bytes": 10, "share_of_budget": 0.9}, "yes"),
    ],
)
def test_a_bar_is_met_only_if_all_of_it_is(key: str, row: dict[str, float], met: str) -> None:
    """The table says NO where it is not."""
    assert verdict(key, row)[2] == met


@pytest.mark.parametrize("name", ["circuits", "circuits_llama"])
def test_the_page_shows_the_figures_that_are_kept_beside_the_script(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The committed table is the committed figures'; what has not been measured has no table."""
    figures, committed = FOLDER / f"{name}.json", page_marks.PAGE.read_text()
    if not figures.exists():
        assert begin_of(name) not in committed
        return
    content, page = table(json.loads(figures.read_text())), tmp_path / "page.md"
    assert f"{begin_of(name)}\n{content}\n{END}" in committed
    page.write_text(f"before\n{begin_of(name)}\nold\n{END}\nafter\n")
    monkeypatch.setattr(page_marks, "PAGE", page)
    write_table(name, content)
    assert page.read_text() == f"before\n{begin_of(name)}\n{content}\n{END}\nafter\n"


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_the_products_of_a_run_are_those_that_it_does(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the sums over edges, a run multiplies with no weight more than once; the forward's are counted alike."""
    monkeypatch.setattr(edge_sums, "DENSE", 2.0)  # no sum over edges is a product
    weights, dataset = random_weights(SMALL), prompts(SMALL.d_vocab)
    graph = CircuitGraph(SMALL)
    members = graph.pruned(np.random.default_rng(0).random(len(graph)) < share)
    base = Base(Runs(clean_runs(weights, dataset.orig, dataset.new)))
    matrix = graph.matrix(members)
    rows = rows_of(np.tile(np.arange(circuits.N_POS) == circuits.N_POS - 1, (len(dataset), 1)), weights.device)
    with torch.no_grad():
        circuit_run(base, torch.from_numpy(matrix)[None], rows)
        with FlopCounterMode(display=False) as counted:
            circuit_run(base, torch.from_numpy(matrix)[None], rows)
    by_kind = counted.get_flop_counts()["Global"]
    kinds = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)
    own = sum(flops for kind, flops in by_kind.items() if kind in kinds)
    assert own == run_flops(graph, matrix)
    assert own_pass_flops(SMALL) > own
