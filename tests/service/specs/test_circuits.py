"""Circuit specs: what does not fit is told by field, before anything is queued."""

from dataclasses import replace
from typing import Any

import pytest

from planning.circuit import edge_count
from service.jobs.sharding import slices
from service.specs.limits import SpecLimits
from tests import golden_circuits
from tests.specs_of_demo import catalog, check, problems

LOGIT_DIFF = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}


def found(limits: SpecLimits | None = None, metric: Any = LOGIT_DIFF, **patch: Any) -> dict[str, str]:
    more = {name: patch.pop(name) for name in ("dtype", "method", "metrics", "dataset", "model") if name in patch}
    return problems(limits, patch={"kind": "circuit", **patch}, metric=metric, **more)


@pytest.mark.parametrize(
    ("patch", "pointer", "words"),
    [
        ({"edges": {"mine": ["a0.h0->m1", "a7.h0->logits"]}}, "/patch/edges/mine/1", "layers 0 to"),
        ({"edges": {"mine": ["m1->a0.h0<q>"]}}, "/patch/edges/mine/0", "leads backwards"),
        ({"edges": {"mine": ["nonsense"]}}, "/patch/edges/mine/0", "is no edge"),
        ({"edges": {}}, "/patch/edges", "there is no circuit"),
        ({"edges": {"mine": []}, "score": {"method": "exact"}}, "/patch/score", "does not go with edges"),
        ({"edges": {"mine": []}, "resamples": 10}, "/patch/resamples", "does not go with edges"),
        ({"verify": 5}, "/patch/verify", "goes with method 'attribution'"),
        ({"choose": {"edges": [3], "fractions": [0.1]}}, "/patch/choose/fractions", "both are given"),
        ({"tests": ["random", "random"]}, "/patch/tests", "more than once"),
        ({"senders": []}, "/patch/senders", "there is no field"),
        ({"method": "attribution"}, "/method", "patch.score.method"),
        ({"dtype": "bfloat16"}, "/dtype", "float32"),
        ({"metric": {"kind": "loss"}}, "/metric/kind", "one of logit_diff"),
        ({"metric": {**LOGIT_DIFF, "normalize": "noising"}}, "/metric/normalize", "faithfulness"),
        ({"metric": None, "metrics": [LOGIT_DIFF]}, "/metrics", "one metric"),
        ({"metric": {**LOGIT_DIFF, "answer": "X"}}, "/metric/answer", "there is no answer"),
    ],
)
def test_what_does_not_fit_is_told_by_field(patch: dict[str, Any], pointer: str, words: str) -> None:
    """One sentence each, and nothing else is complained about."""
    problems = found(**patch)
    assert list(problems) == [pointer]
    assert words in problems[pointer]


def test_a_graph_of_another_model_is_refused() -> None:
    """Many of its names exist here too, and mean something else."""
    graph = golden_circuits.read("graph_example")
    assert found(edges=graph, model={"name": "golden"}, dataset=tokens()) == {}
    other = {**graph, "cfg": {**graph["cfg"], "n_heads": 12}}
    problems = found(edges=other, model={"name": "golden"}, dataset=tokens())
    assert list(problems) == ["/patch/edges/cfg/n_heads"]
    assert "its n_heads is 12, and here it is 4" in problems["/patch/edges/cfg/n_heads"]


def tokens() -> dict[str, Any]:
    return {"kind": "tokens", **golden_circuits.dataset().model_dump(exclude={"start"})}


def test_limits_are_told_with_their_variables() -> None:
    """Ten million edge-examples are more than a queue should take by mistake."""
    n_edges = edge_count(catalog().get("demo").architecture)
    few = replace(SpecLimits(), max_edge_examples=n_edges * 8 - 1)
    assert "PATHPATCH_MAX_EDGE_EXAMPLES" in found(few)["/patch/score"]
    assert found(few, score={"method": "integrated"}) == {}
    assert "PATHPATCH_MAX_CELLS" in found(replace(SpecLimits(), max_cells=n_edges - 1))["/patch/kind"]
    many = {"edges": [290] * 20}
    assert "PATHPATCH_MAX_CIRCUIT_RUNS" in found(choose=many, tests=["minimality", "completeness"])["/patch/tests"]


def test_a_flat_metric_warns_of_attribution() -> None:
    """Its gradient at orig is 0."""
    kl = {"kind": "kl"}
    attributed = check(patch={"kind": "circuit", "score": {"method": "attribution"}}, metric=kl)
    assert any("'attribution' is 0 for every edge" in warning for warning in attributed.warnings)
    integrated = check(patch={"kind": "circuit", "score": {"method": "integrated"}}, metric=kl)
    assert integrated.warnings == []


def test_the_look_ahead_counts_edges_and_prices_phases() -> None:
    """Axes, cells, phases and size of the result."""
    n_edges = edge_count(catalog().get("demo").architecture)
    exact = check(patch={"kind": "circuit", "source": "mean"}, metric=LOGIT_DIFF)
    assert (exact.cells, exact.axes, exact.shape) == (n_edges, ["edge"], [n_edges])
    assert len(exact.phase_flops) == 3
    estimated = check(patch={"kind": "circuit", "score": {"method": "attribution"}}, metric=LOGIT_DIFF)
    assert estimated.phase_flops[0] < exact.phase_flops[1] / 10
    assert estimated.spec.patch.score.method == "attribution"  # type: ignore[union-attr]
    given = check(patch={"kind": "circuit", "edges": {"mine": ["input->logits"]}}, metric=LOGIT_DIFF)
    assert len(given.phase_flops) == 1


@pytest.mark.parametrize(
    ("choose", "more", "pointer", "words"),
    [
        ({"by": "acdc"}, {}, "/patch/choose/threshold", "threshold is missing"),
        ({"by": "acdc", "threshold": 0.1, "edges": [3]}, {}, "/patch/choose/edges", "its threshold decides"),
        ({"by": "acdc", "threshold": 0.1}, {"score": {"method": "exact"}}, "/patch/score", "tests each edge"),
        ({"by": "acdc", "threshold": 0.1}, {"verify": 3}, "/patch/verify", "by 'acdc' has none"),
        ({"by": "iterated"}, {"resamples": 3}, "/patch/resamples", "go with 'top' and 'greedy'"),
        ({"by": "top", "rounds": 3}, {}, "/patch/choose/rounds", "'iterated' only"),
        ({"threshold": 3.0}, {}, "/patch/choose/threshold", "'acdc' only"),
    ],
)
def test_parts_of_a_choice_that_do_not_go_together(
    choose: dict[str, Any], more: dict[str, Any], pointer: str, words: str
) -> None:
    """Rounds and thresholds belong to one way of choosing each."""
    problems = found(choose=choose, **more)
    assert list(problems) == [pointer]
    assert words in problems[pointer]


def test_choices_that_run_edge_by_edge_are_limited_too() -> None:
    """And cut into the phases that they take; ACDC is one shard, since each test needs all examples."""
    n_edges = edge_count(catalog().get("demo").architecture)
    few = replace(SpecLimits(), max_edge_examples=n_edges * 8)
    acdc = {"by": "acdc", "threshold": 0.1}
    assert found(few, choose=acdc) == {}
    assert "in all rounds" in found(few, choose={"by": "iterated", "edges": [20]})["/patch/score"]
    assert "/patch/choose" in found(replace(few, max_edge_examples=10), choose=acdc)
    checked = check(patch={"kind": "circuit", "choose": acdc}, metric=LOGIT_DIFF)
    assert slices(checked, 1.0) == ([(0, 8)], [None])
    rounds = check(
        patch={"kind": "circuit", "choose": {"by": "iterated", "edges": [9, 3], "rounds": 3}}, metric=LOGIT_DIFF
    )
    assert len(rounds.phase_flops) == 2 * 6 + 1
