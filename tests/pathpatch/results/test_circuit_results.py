"""Results of circuit jobs in the client: circuits by size, graphs, files and figures."""

import json
from pathlib import Path
from typing import Any

import pytest

import pathpatch as pp
from pathpatch import figures, static_figures
from pathpatch.drawing.charting import FigureDoesNotFit
from pathpatch.results import NoSuchCircuit, result_from
from pathpatch.results.circuit import CircuitResult
from tests import golden_circuits
from tests.shards import run_job
from tests.tiny_weights import prompts, tiny_weights
from worker.jobs.kind import AssembledResult


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """A job's result as the service answers it."""
    spec = pp.circuit(
        pp.ioi(4), {"kind": "logit_diff", "answer": "A", "minus_answer": "B"}, "demo",
        score="integrated", steps=2, edges=[5, 12, 40], by="greedy", tests=["random"], verify=6,
    )  # fmt: skip
    return as_json(run_job(tiny_weights(), spec, prompts([5, 6, 4, 5])))


def as_json(result: AssembledResult) -> dict[str, Any]:
    flat = {name.removeprefix("0/"): values for name, values in result.arrays.items()}
    head = {"job_id": "job_1", "checks": result.checks, "warnings": result.warnings, "unreachable_senders": []}
    more = {"provenance": {"model": "demo"}, "timings": {"queued_s": 0.0, "run_s": 1.0}}
    whole = result_from({**result.blocks[0], **flat, **head, **more})
    found: dict[str, Any] = json.loads(json.dumps(whole.to_json()))
    return found


def test_circuits_are_found_by_size(answer: dict[str, Any]) -> None:
    """With their edges by name, their scores, and as EAP-IG's graph."""
    result = result_from(answer)
    assert isinstance(result, CircuitResult)
    circuit = result.circuit(12)
    assert len(circuit.edges) == answer["circuits"][1]["n_edges"]
    assert all("->" in edge for edge in circuit.edges)
    assert set(circuit.scores) == set(circuit.edges)
    graph = circuit.graph()
    assert [name for name, edge in graph["edges"].items() if edge["in_graph"]] == circuit.edges
    name = circuit.edges[0]
    assert graph["edges"][name]["score"] == -circuit.scores[name]
    with pytest.raises(NoSuchCircuit, match="it has 5, 12, 40"):
        result.circuit(13)
    assert "faithfulness" in repr(result)


@pytest.mark.parametrize("ending", ["json", "npz", "csv"])
def test_results_are_saved_and_read_again(answer: dict[str, Any], ending: str, tmp_path: Path) -> None:
    """As other results are."""
    result = result_from(answer)
    file = result.save(tmp_path / f"circuit.{ending}")
    if ending == "csv":
        assert file.read_text().startswith("edge,score,score_sem,in 5,in 12,in 40\n")
        return
    again = pp.Result.load(file)
    assert isinstance(again, CircuitResult)
    assert again.circuit(40).edges == result.circuit(40).edges  # type: ignore[attr-defined]
    assert again.scores == pytest.approx(result.scores)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [None, "faithfulness", "circuit", "ranks"])
def test_every_figure_is_drawn_in_both_ways(answer: dict[str, Any], kind: str | None) -> None:
    """Plotly for the page, SVG for papers; the caption says what it is of."""
    spec = {
        "model": {"name": "demo"},
        "dataset": {"kind": "ioi", "examples": 4},
        "patch": {"kind": "circuit", "score": {"method": "integrated"}},
    }
    figure = figures.figure_for(answer, spec, kind=kind)
    assert figure.layout.meta["kinds"] == ["faithfulness", "circuit", "ranks"]
    assert "edges scored by EAP-IG" in figure.layout.meta["caption"]
    assert figure.layout.meta["alt"]
    assert b"<svg" in static_figures.static_figure_for(answer, spec, kind=kind)


def test_a_circuit_of_300_edges_is_drawn_without_isolated_nodes(answer: dict[str, Any]) -> None:
    """Every node has an edge; every edge says its name and score on hover."""
    figure = figures.figure_for(answer, kind="circuit", circuit="40")
    names = {annotation.text for annotation in figure.layout.annotations}
    assert set(result_from(answer).circuit(40).nodes) <= names  # type: ignore[attr-defined]
    assert sum("-&gt;" in str(trace.text) for trace in figure.data) == answer["circuits"][2]["n_edges"]


def test_a_figure_that_does_not_fit_says_what_is_missing(answer: dict[str, Any]) -> None:
    """Ranks need exact scores."""
    with pytest.raises(FigureDoesNotFit, match=r"patch\.verify"):
        figures.figure_for(answer | {"verified": None}, kind="ranks")


def test_a_graph_of_eap_ig_is_a_circuit_of_ones_own() -> None:
    """As it is read from a file."""
    spec = pp.circuit(pp.ioi(2), pp.logit_diff(), circuits=golden_circuits.read("graph_example"))
    assert spec.patch.edges.cfg["n_layers"] == 4  # type: ignore[union-attr]
    named = pp.circuit(pp.ioi(2), pp.logit_diff(), circuits={"mine": ["input->logits"]})
    assert named.patch.edges == {"mine": ["input->logits"]}  # type: ignore[union-attr]
