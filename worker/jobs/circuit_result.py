"""The result of a circuit job: edges with their scores, circuits with what they do, curves, tests and checks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_schemas.circuits import CircuitPatch
from api_schemas.errors import ChecksFailed
from api_schemas.metrics import title_of
from api_schemas.spec import JobSpec, TopCells
from planning.circuit import CircuitGraph
from planning.circuit_choice import cmd, cpr, faithfulness, mean_jaccard
from planning.circuit_sets import (
    MOST_EDGES_REMOVED,
    RANDOM_KNOCKOUTS,
    RANDOM_REMOVALS,
    EdgeSets,
    Removal,
    chosen_members,
)
from worker.jobs.circuit_records import EdgeScores, RunValues
from worker.jobs.kind import AssembledResult
from worker.jobs.moments import finite
from worker.jobs.records import Numbers

Arrays = dict[str, Numbers]
TOLERANCE = 1e-3
"""Largest accepted deviation of a check, relative to the largest metric."""


def assemble_circuits(
    spec: JobSpec, patch: CircuitPatch, sets: EdgeSets, scores: EdgeScores | None, found: RunValues
) -> AssembledResult:
    """The result, from the scores of all edges and the metric of all edge sets.

    Raises:
        ChecksFailed: All edges are not orig, none are not new, or one edge removed is not its path patch.
    """
    arrays: Arrays = {}
    curve = _Curve(sets, found)
    metric = spec.all_metrics[0]
    block: dict[str, Any] = {
        "metric": {
            "kind": metric.kind,
            "title": title_of(metric),
            "unit": metric.unit,
            **metric.model_dump(exclude_none=True),
        },
        "n_examples": len(found.orig),
        "graph": _graph(sets.graph),
        "edges": None if scores is None else _edges(spec, sets, scores, arrays),
        "circuits": [curve.circuit(index, arrays, spec.per_example) for index in range(len(sets.circuits))],
        **curve.areas(),
        "baselines": {"orig": _mean(found.orig), "new": _mean(found.values[sets.none])},
        "tests": _tests(patch, sets, curve),
        "stability": None if scores is None else _stability(patch, sets, scores),
        "verified": None if scores is None else _verified(patch, sets, scores, curve),
    }
    rounded = {name: _rounded(values, spec.output.decimals) for name, values in arrays.items()}
    checks = _checks(patch, sets, found)
    return AssembledResult([block], rounded, checks, [], _warnings(patch, curve))


def _rounded(values: Numbers, decimals: int | None) -> Numbers:
    if values.dtype.kind != "f":
        return values
    return ((values if decimals is None else np.round(values, decimals)) + 0.0).astype(np.float32)


def _graph(graph: CircuitGraph) -> dict[str, Any]:
    """What EAP-IG calls ``cfg``, and how large the whole is."""
    architecture = graph.architecture
    return {
        "n_layers": architecture.n_layers,
        "n_heads": architecture.n_heads,
        "parallel_attn_mlp": architecture.is_parallel,
        "d_model": architecture.d_model,
        "n_edges": len(graph),
        "n_nodes": len(graph.nodes),
    }


def _mean(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean and standard error over the examples; null where there is none."""
    sem = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return {"mean": finite(float(values.mean())), "sem": finite(sem)}


def _edges(spec: JobSpec, sets: EdgeSets, scores: EdgeScores, arrays: Arrays) -> dict[str, Any]:
    """Names, and arrays of scores and their errors; with ``reduce`` of the largest alone."""
    reduce, means = spec.output.reduce, scores.moments.mean
    kept = np.arange(len(means))
    if isinstance(reduce, TopCells):
        kept = np.argsort(-np.abs(means), kind="stable")[: reduce.top]
    arrays["0/edges/scores"] = means[kept]
    arrays["0/edges/scores_sem"] = scores.moments.sd[kept] / np.sqrt(scores.moments.n)
    if (resampled := _resampled_means(scores)) is not None:
        arrays["0/edges/scores_resampled_sem"] = resampled[:, kept].std(axis=0, ddof=1)
    found: dict[str, Any] = {"names": [sets.graph.names[edge] for edge in kept]}
    return found if len(kept) == len(means) else found | {"indices": kept.tolist()}


class _Curve:
    """Runs on the scale of faithfulness."""

    def __init__(self, sets: EdgeSets, found: RunValues) -> None:
        self.sets, self.found = sets, found
        self.means = found.values.mean(axis=1)

    def faithfulness(self, runs: Sequence[int]) -> list[float | None]:
        """Of some runs; null where model and empty circuit are equal."""
        nothing, everything = self.means[self.sets.none], float(self.found.orig.mean())
        return [finite(float(value)) for value in faithfulness(self.means[list(runs)], float(nothing), everything)]

    def circuit(self, index: int, arrays: Arrays, per_example: bool) -> dict[str, Any]:
        """One circuit: its size, what it does, and its edges."""
        circuit, run = self.sets.circuits[index], self.sets.run_of[index]
        arrays[f"0/circuits/{index}/members"] = np.flatnonzero(circuit.members).astype(np.int32)
        if per_example:
            arrays[f"0/circuits/{index}/per_example"] = self.found.values[run]
        return {
            "name": circuit.label,
            "fraction": circuit.fraction,
            "n_edges_chosen": circuit.n_chosen,
            "n_edges": int(circuit.members.sum()),
            "n_nodes": len(self.sets.graph.nodes_of(circuit.members)),
            "metric": _mean(self.found.values[run]),
            "faithfulness": self.faithfulness([run])[0],
        }

    def strongest(self, removal: Removal, alone: float) -> float:
        """The largest absolute difference that a removal makes, alone or with a set K removed first."""
        given = [float(self.means[both] - self.means[first]) for first, both in removal.given]
        return max(map(abs, [alone, *given]))

    def areas(self) -> dict[str, float | None]:
        """CPR and CMD over the grid of fractions; null for other sizes, and where faithfulness has no scale."""
        fractions = [circuit.fraction for circuit in self.sets.circuits]
        values = self.faithfulness(self.sets.run_of)
        if len(values) < 2 or None in fractions or None in values:
            return {"cpr": None, "cmd": None}
        at, of = np.array(fractions, dtype=np.float64).tolist(), np.array(values, dtype=np.float64)
        return {"cpr": cpr(at, of), "cmd": cmd(at, of)}


def _tests(patch: CircuitPatch, sets: EdgeSets, curve: _Curve) -> dict[str, Any] | None:
    if not patch.tests:
        return None
    found: dict[str, Any] = {}
    if "completeness" in patch.tests:
        found["completeness"] = _by_circuit(sets.completeness, sets, curve) | {"random_sets": RANDOM_KNOCKOUTS}
    if "minimality" in patch.tests:
        found["minimality"] = _by_circuit(sets.minimality, sets, curve) | {"random_sets": RANDOM_REMOVALS}
    if "random" in patch.tests:
        found["random"] = [
            {"circuit": index, "faithfulness": curve.faithfulness([run for own, run in sets.random if own == index])}
            for index in sorted({own for own, _ in sets.random})
        ]
    return found


def _by_circuit(removals: Sequence[Removal], sets: EdgeSets, curve: _Curve) -> dict[str, Any]:
    """Metrics after each removal, circuit by circuit."""
    circuits = []
    for index in sorted({removal.circuit for removal in removals}):
        own = [removal for removal in removals if removal.circuit == index]
        without = curve.means[[removal.without for removal in own]]
        entry: dict[str, Any] = {"circuit": index, "removed": [removal.what for removal in own]}
        entry["without"] = without.tolist()
        if own[0].model_without is None:
            difference = without - curve.means[sets.run_of[index]]
            entry["strongest"] = list(map(curve.strongest, own, difference.tolist()))
        else:
            model = curve.means[[removal.model_without or 0 for removal in own]]
            entry["model_without"] = model.tolist()
            difference = without - model
        circuits.append(entry | {"difference": difference.tolist(), "largest": float(np.abs(difference).max())})
    return {"most_edges": MOST_EDGES_REMOVED, "circuits": circuits}


def _resampled_means(scores: EdgeScores) -> NDArray[np.float64] | None:
    """(resample, edge); None without resamples, and where fewer than two have an example."""
    if scores.resampled is None or scores.resampled_counts is None:
        return None
    counted = scores.resampled_counts > 0
    means = scores.resampled[counted].astype(np.float64) / scores.resampled_counts[counted, None]
    return means if len(means) > 1 else None


def _stability(patch: CircuitPatch, sets: EdgeSets, scores: EdgeScores) -> dict[str, Any] | None:
    """How far the circuits that resamples choose agree, by size."""
    means = _resampled_means(scores)
    if means is None:
        return None
    chosen = [chosen_members(patch, sets.graph, own) for own in means]
    return {"resamples": len(means), "jaccard": [mean_jaccard(own) for own in zip(*chosen, strict=True)]}


def _verified(patch: CircuitPatch, sets: EdgeSets, scores: EdgeScores, curve: _Curve) -> dict[str, Any] | None:
    """Estimates of the largest edges beside their exact scores."""
    if patch.verify is None:
        return None
    edges = [edge for edge, _ in sets.verified]
    exact = curve.means[[run for _, run in sets.verified]] - curve.means[sets.all]
    estimate = scores.moments.mean[edges]
    return {
        "edges": edges,
        "names": [sets.graph.names[edge] for edge in edges],
        "estimate": estimate.tolist(),
        "exact": exact.tolist(),
        "rank_correlation": _rank_correlation(estimate, exact),
    }


def _rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float | None:
    """Spearman's, of two lists of distinct numbers."""
    if len(first) < 2:
        return None
    ranks = [np.argsort(np.argsort(values)).astype(np.float64) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _checks(patch: CircuitPatch, sets: EdgeSets, found: RunValues) -> dict[str, float | int | None]:
    allowed = TOLERANCE * (1 + float(np.abs(found.orig).max()))
    everything = float(np.abs(found.values[sets.all] - found.orig).max())
    nothing = float(np.abs(found.values[sets.none] - found.new).max()) if patch.source == "new" else None
    named = {
        "A run of all edges misses orig": everything,
        "A run of no edge misses new": nothing,
        "A run without one edge misses the path patch of that edge": found.one_edge,
    }
    for what, difference in named.items():
        if difference is not None and not difference <= allowed:
            raise ChecksFailed(f"{what} by {difference:.3g}; float error would be below {allowed:.3g}.")
    return {
        "identity_max_abs": None,
        "all_edges_max_abs": everything,
        "no_edge_max_abs": nothing,
        "one_edge_max_abs": found.one_edge,
        "nonfinite": int((~np.isfinite(found.values)).sum()),
    }


def _warnings(patch: CircuitPatch, curve: _Curve) -> list[str]:
    found = []
    if patch.method in ("attribution", "integrated"):
        found.append("scores are first-order estimates; circuits are run exactly")
    if curve.faithfulness([curve.sets.all])[0] is None:
        found.append("the model's metric equals the empty circuit's, so faithfulness has no scale and is null")
    return found
