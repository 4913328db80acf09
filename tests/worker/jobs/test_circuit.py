"""Circuit jobs, as workers run them: against EAP-IG's figures, however they are cut."""

import itertools
from typing import Any

import numpy as np
import pytest

from api_schemas.circuits import CIRCUIT_METRICS
from api_schemas.spec import JobSpec
from planning.circuit import CircuitGraph
from planning.grid import CellSlice
from tests import golden_circuits
from tests.shards import run_job
from tests.tiny_weights import D_VOCAB, LOGIT_DIFF, prompts, tiny_weights
from worker.engine.model import Weights
from worker.jobs.kind import AssembledResult
from worker.jobs.shard import ShardSettings

SCORES = {"exact": "exact", "attribution": "eap", "integrated": "eap_ig_5"}


def spec_of(metric: dict[str, Any] = golden_circuits.METRIC, **patch: Any) -> JobSpec:
    output = patch.pop("output", {})
    return JobSpec.model_validate(
        {
            "model": {"name": "golden"},
            "dataset": {"kind": "ioi", "examples": 1},
            "patch": {"kind": "circuit", **patch},
            "metric": metric,
            "output": output,
        }
    )


def golden_job(weights: Weights, **patch: Any) -> AssembledResult:
    return run_job(weights, spec_of(**patch), golden_circuits.dataset())


@pytest.mark.parametrize("method", SCORES)
def test_scores_and_curves_are_those_of_the_public_codes(golden_weights: Weights, method: str) -> None:
    """The whole way: scores, choice on MIB's grid, circuit runs, CPR and CMD."""
    result = golden_job(golden_weights, score={"method": method}, choose={"rank": "signed"})
    np.testing.assert_allclose(
        result.arrays["0/edges/scores"], golden_circuits.scores()[SCORES[method]], atol=1e-4, rtol=0
    )
    (golden,) = (
        curve
        for curve in golden_circuits.read("curves")["curves"]
        if (curve["scores"], curve["order"], curve["selection"]) == (SCORES[method], "signed", "topn")
    )
    block = result.blocks[0]
    sizes = [circuit["n_edges"] for circuit in block["circuits"]]
    assert sizes[4:] == golden["edges_after_pruning"][5:]  # of one of four edges EAP-IG leaves a dead end
    found = [circuit["faithfulness"] for circuit in block["circuits"]]
    np.testing.assert_allclose(found, golden["faithfulness"][1:], atol=1e-4)
    assert block["cpr"] == pytest.approx(golden["cpr_mib"], abs=1e-4)
    assert block["cmd"] == pytest.approx(golden["cmd_mib"], abs=1e-4)


def test_knockouts_are_those_of_the_public_codes(golden_weights: Weights) -> None:
    """Completeness of a circuit of 99 edges: it, and the model, without each of its nodes."""
    golden, names = golden_circuits.read("completeness"), golden_circuits.read("edges")["edges"]
    edges = {"mine": [names[edge] for edge in golden["circuit"]]}
    result = golden_job(golden_weights, edges=edges, tests=["completeness"])
    (found,) = result.blocks[0]["tests"]["completeness"]["circuits"]
    expected = {
        one["what"].removeprefix("node "): one for one in golden["knockouts"] if one["what"].startswith("node ")
    }
    compared = 0
    for what, without, model in zip(found["removed"], found["without"], found["model_without"], strict=True):
        if what in expected:
            assert without == pytest.approx(expected[what]["circuit"], abs=1e-4)
            assert model == pytest.approx(expected[what]["model"], abs=1e-4)
            compared += 1
    assert compared > 15


def test_removals_are_those_of_the_public_codes(golden_weights: Weights) -> None:
    """Minimality: a circuit of 26 edges without each of them, and one of 99 without each of its nodes."""
    golden, names = golden_circuits.read("completeness"), golden_circuits.read("edges")["edges"]
    edges = {name: [names[edge] for edge in golden[name]] for name in ("minimality_circuit", "circuit")}
    result = golden_job(golden_weights, edges=edges, tests=["minimality"])
    small, large = (
        dict(zip(found["removed"], found["without"], strict=True))
        for found in result.blocks[0]["tests"]["minimality"]["circuits"]
    )
    for one in golden["without_edge"]:
        assert small[names[one["edge"]]] == pytest.approx(one["circuit_without"], abs=1e-4)
    for one in golden["without_node"][1:]:
        assert large[one["node"]] == pytest.approx(one["circuit_without"], abs=1e-4)


CUT: dict[str, Any] = {
    "tests": ["completeness", "minimality", "random"],
    "resamples": 5,
    "choose": {"by": "greedy", "edges": [3, 8, 20]},
    "output": {"per_example": True},
}
LENGTHS = [5, 7, 4, 6]


@pytest.mark.parametrize("score", [{"method": "exact"}, {"method": "integrated", "steps": 3}])
@pytest.mark.parametrize("source", ["new", "zero", "mean"])
def test_cuts_and_memory_change_nothing(score: dict[str, Any], source: str) -> None:
    """Shards are slices of examples and of edges; what they find together is what one finds alone."""
    weights, dataset = tiny_weights(), prompts(LENGTHS)
    spec = spec_of(LOGIT_DIFF, score=score, source=source, **CUT)
    n_readers = len(CircuitGraph(weights.architecture).readers)
    whole = run_job(weights, spec, dataset)
    few = ShardSettings(memory_bytes=200_000)
    bounds = [0, 4, 5, n_readers]
    cells = [CellSlice((0, 1), (first, last)) for first, last in itertools.pairwise(bounds)]
    for other in (
        run_job(weights, spec, dataset, cuts=[1, 3], cells=cells),
        run_job(weights, spec, dataset, settings=few),
    ):
        assert other.arrays.keys() == whole.arrays.keys()
        for name, values in whole.arrays.items():
            np.testing.assert_allclose(other.arrays[name], values, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(other.blocks[0]["stability"]["jaccard"], whole.blocks[0]["stability"]["jaccard"])


@pytest.mark.parametrize("score", [{"method": "exact"}, {"method": "integrated", "steps": 2}])
def test_cuts_change_nothing_in_rounds(score: dict[str, Any]) -> None:
    """What is dropped depends on means over all examples."""
    weights, dataset = tiny_weights(), prompts(LENGTHS)
    spec = spec_of(LOGIT_DIFF, score=score, choose={"by": "iterated", "edges": [20, 60], "rounds": 3})
    n_readers = len(CircuitGraph(weights.architecture).readers)
    cells = [CellSlice((0, 1), own) for own in ((0, 7), (7, n_readers))]
    whole, cut = run_job(weights, spec, dataset), run_job(weights, spec, dataset, cuts=[1, 3], cells=cells)
    for index in range(2):
        name = f"0/circuits/{index}/members"
        np.testing.assert_array_equal(cut.arrays[name], whole.arrays[name])


def test_an_estimate_is_verified_by_exact_scores(golden_weights: Weights) -> None:
    """The largest estimates, each beside the score that the edge has."""
    result = golden_job(golden_weights, score={"method": "attribution"}, verify=12)
    found = result.blocks[0]["verified"]
    np.testing.assert_allclose(found["exact"], golden_circuits.scores()["exact"][found["edges"]], atol=1e-4)
    np.testing.assert_allclose(found["estimate"], golden_circuits.scores()["eap"][found["edges"]], atol=1e-5)
    assert 0.3 < found["rank_correlation"] <= 1


def test_only_the_largest_edges_are_listed_if_asked(golden_weights: Weights) -> None:
    """Models with a million edges."""
    result = golden_job(golden_weights, score={"method": "attribution"}, output={"reduce": {"top": 5}})
    edges = result.blocks[0]["edges"]
    scores = golden_circuits.scores()["eap"]
    assert edges["indices"] == np.argsort(-np.abs(scores))[:5].tolist()
    np.testing.assert_allclose(result.arrays["0/edges/scores"], scores[edges["indices"]], atol=1e-5)


def test_standard_errors_are_of_the_mean_over_examples(golden_weights: Weights) -> None:
    """The error bars of scores."""
    result = golden_job(golden_weights)
    golden = golden_circuits.scores()
    effect = golden["exact_patched"] - golden["clean"]
    sem = effect.std(axis=1, ddof=1) / np.sqrt(8)
    np.testing.assert_allclose(result.arrays["0/edges/scores_sem"], sem, atol=1e-4)


@pytest.mark.parametrize("metric", [kind for kind in CIRCUIT_METRICS if kind != "logit_diff"])
def test_every_metric_of_logits_judges_circuits(metric: str) -> None:
    """All edges are orig, none are new, one removed is its path patch: a job fails otherwise."""
    answer = {} if metric in ("kl", "js") else {"answer": "A"} | ({"minus_answer": "B"} if "diff" in metric else {})
    dataset = prompts(LENGTHS)
    dataset.answers["A"] = [[one, (one + 1) % D_VOCAB] for one in dataset.answers["A"]]
    result = run_job(tiny_weights(), spec_of({"kind": metric, **answer}), dataset)
    assert result.checks["all_edges_max_abs"] < 1e-4
    assert result.checks["no_edge_max_abs"] < 1e-4
    assert result.checks["one_edge_max_abs"] < 1e-4


@pytest.mark.parametrize("mean_over", ["position", "all"])
def test_edges_outside_a_circuit_may_carry_a_mean(mean_over: str) -> None:
    """Of each position, or the same everywhere: no edge is then the mean at every writer, and all edges orig."""
    patch = {"source": "mean", "mean_over": mean_over, "score": {"method": "attribution"}}
    result = run_job(tiny_weights(), spec_of(LOGIT_DIFF, **patch), prompts(LENGTHS))
    assert result.checks["all_edges_max_abs"] < 1e-4
    assert result.checks["one_edge_max_abs"] < 1e-4


def test_acdc_keeps_the_edges_that_its_own_code_keeps(golden_weights: Weights) -> None:
    """At every threshold of the golden figures, signed and absolute."""
    for golden in golden_circuits.read("acdc"):
        rank = "absolute" if golden["absolute"] else "signed"
        result = golden_job(golden_weights, choose={"by": "acdc", "rank": rank, "threshold": golden["threshold"]})
        names = golden_circuits.read("edges")["edges"]
        found = {names[edge] for edge in result.arrays["0/circuits/0/members"]}
        graph = CircuitGraph(golden_weights.architecture)
        kept = graph.pruned(graph.members(map(graph.edge, golden["kept"])))
        assert found == {names[edge] for edge in np.flatnonzero(kept)}
        assert result.blocks[0]["circuits"][0]["n_edges_chosen"] == len(golden["kept"])
        assert result.blocks[0]["circuits"][0]["metric"]["mean"] == pytest.approx(golden["metric"], abs=1e-4)


@pytest.mark.parametrize("rank", ["signed", "absolute"])
@pytest.mark.parametrize("method", ["exact", "attribution", "integrated"])
def test_rounds_choose_better_circuits_than_one_round(golden_weights: Weights, method: str, rank: str) -> None:
    """Single rounds of scores miss edges that matter only together: at no size do they find a better circuit."""
    single, iterated = (
        golden_job(
            golden_weights, score={"method": method}, choose={**by, "rank": rank, "fractions": [0.02, 0.1, 0.3, 1]}
        ).blocks[0]
        for by in ({"by": "top"}, {"by": "iterated", "rounds": 1})
    )
    before, after = (np.array([one["faithfulness"] for one in block["circuits"]]) for block in (single, iterated))
    if rank == "signed":
        assert (after >= before - 1e-4).all()
        assert iterated["cpr"] > single["cpr"]
    else:
        assert (np.abs(1 - after) <= np.abs(1 - before) + 1e-4).all()
        assert iterated["cmd"] < single["cmd"]


def test_resamples_give_the_standard_error_of_every_score(golden_weights: Weights) -> None:
    """Of many resamples it is that of the mean over examples, up to what a draw can differ."""
    result = golden_job(golden_weights, score={"method": "attribution"}, resamples=1000)
    plain, resampled = result.arrays["0/edges/scores_sem"], result.arrays["0/edges/scores_resampled_sem"]
    known = plain > 1e-4
    assert 0.85 < np.median(resampled[known] / plain[known]) < 1.2


def test_circuits_of_any_size_are_tested(golden_weights: Weights) -> None:
    """Of a large one, edges are drawn; what matters only once others are gone is told by the sets K."""
    result = golden_job(
        golden_weights,
        score={"method": "attribution"},
        choose={"edges": [400]},
        tests=["completeness", "minimality"],
    )
    tests = result.blocks[0]["tests"]
    (complete,), (minimal,) = (tests[name]["circuits"] for name in ("completeness", "minimality"))
    assert (tests["minimality"]["most_edges"], tests["minimality"]["random_sets"]) == (200, 3)
    assert sum("->" in what for what in minimal["removed"]) == 200
    alone = np.abs(minimal["difference"])
    assert (np.array(minimal["strongest"]) >= alone).all()
    assert (np.array(minimal["strongest"]) > alone).any()
    assert complete["largest"] > 0
