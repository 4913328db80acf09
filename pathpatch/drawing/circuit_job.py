"""Charts of circuit jobs: the faithfulness curve, one circuit in layers, and estimates against exact scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pathpatch.drawing.captions import SCORES, SEPARATOR, Spec, dataset_words, signed
from pathpatch.drawing.charts import Chart, Curve, Graph, GraphEdge, GraphNode, Ranks, Words
from pathpatch.drawing.circuit import curve
from pathpatch.drawing.subject import FigureDoesNotFit
from planning.architecture import Architecture
from planning.circuit import CircuitGraph

KINDS = ("faithfulness", "circuit", "ranks")
Data = Mapping[str, Any]
SPACING = 1.6
"""Between rows of the layered graph: a layer's heads, then its MLP."""


def is_circuit_result(result: Any) -> bool:
    """Whether it is a circuit job's, as JSON or as the client's record."""
    data = result if isinstance(result, Mapping) else getattr(result, "data", None)
    return isinstance(data, Mapping) and "circuits" in data


def data_of(result: Any) -> Data:
    """What the service answered."""
    data: Data = result if isinstance(result, Mapping) else result.data
    return data


def kinds_of(data: Data) -> list[str]:
    """The charts that a circuit job's result can fill."""
    wanted = {"faithfulness": bool(data["circuits"]), "circuit": bool(data["circuits"])}
    return [kind for kind in KINDS if wanted.get(kind, data.get("verified") is not None)]


def circuit_chart(
    data: Data, spec: Spec | None, kind: str | None = None, strongest: int = 300, circuit: int | str | None = None
) -> Chart:
    """The chart of a circuit job, by default its curve, or its one circuit.

    Args:
        strongest: The graph is of the largest circuit of at most so many edges.
        circuit: Index or name of the circuit to draw instead.

    Raises:
        FigureDoesNotFit: The result cannot fill that kind.
    """
    chosen = kind or ("faithfulness" if len(data["circuits"]) > 1 else "circuit")
    if chosen not in kinds_of(data):
        needed = {"ranks": "estimates beside exact scores (patch.verify)"}.get(chosen, "another kind of job")
        raise FigureDoesNotFit(chosen, ["edge"], needed)
    if chosen == "circuit":
        return _layers(data, spec, strongest, circuit)
    builders: dict[str, Callable[[Data, Spec | None], Chart]] = {"faithfulness": _curve, "ranks": _ranks}
    return builders[chosen](data, spec)


def _caption(data: Data, spec: Spec | None, *extra: str) -> str:
    parts = [str(spec["name"])] if spec is not None and spec.get("name") else []
    parts.append(f"n = {data['n_examples']}")
    model = data.get("provenance", {}).get("model") or (spec or {}).get("model", {}).get("name")
    parts += [str(model)] if model else []
    if spec is not None:
        patch = spec["patch"]
        method, by = (patch.get("score") or {}).get("method"), (patch.get("choose") or {}).get("by")
        scored = f"edges scored {'exactly' if method == 'exact' else f'by {SCORES[method]}'}" if method else None
        chosen = scored or ("chosen by ACDC" if by == "acdc" else "circuits as given")
        parts += [f"{chosen} in rounds" if by == "iterated" else chosen]
        parts += [f"other edges: {patch.get('source', 'new')}", dataset_words(spec["dataset"])]
    return SEPARATOR.join([*parts, *filter(None, extra)])


def _title(data: Data) -> str:
    return str(data["metric"].get("title") or data["metric"]["kind"])


def _curve(data: Data, spec: Spec | None) -> Curve:
    """Faithfulness by number of edges."""
    circuits = data["circuits"]
    order = sorted(range(len(circuits)), key=lambda index: circuits[index]["n_edges_chosen"])
    orig, new = (data["baselines"][run]["mean"] for run in ("orig", "new"))
    scale = abs(orig - new) or np.nan
    sizes, values, errors = (
        np.array([_number(read(circuits[index])) for index in order])
        for read in (_size, lambda one: one["faithfulness"], lambda one: one["metric"]["sem"])
    )
    areas = f"CPR {data['cpr']:.3f}, CMD {data['cmd']:.3f}" if data.get("cpr") is not None else ""
    last = f"{values[-1]:.3g} with {int(sizes[-1]):,} edges"
    first = f"from {values[0]:.3g} with {int(sizes[0]):,} edges"
    alt = f"Faithfulness of {len(order)} circuits on {_title(data)}, {first} to {last}."
    names = [f"{circuits[index]['name']}: {circuits[index]['n_edges']:,} edges after pruning" for index in order]
    words = Words(f"Faithfulness of circuits: {_title(data)}", _caption(data, spec, areas), alt)
    return Curve(
        words, sizes, values, errors / scale, names, "edges in the circuit", "faithfulness (1 = model, 0 = no edge)"
    )


def _size(circuit: Data) -> int:
    return int(circuit["n_edges_chosen"])


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _ranks(data: Data, spec: Spec | None) -> Ranks:
    """Estimated scores against exact ones."""
    found = data["verified"]
    estimate, exact = (np.array([_number(value) for value in found[name]]) for name in ("estimate", "exact"))
    correlation = found["rank_correlation"]
    said = "" if correlation is None else f"rank correlation {correlation:.3f}"
    alt = f"Estimated against exact scores of the {len(exact)} edges with the largest estimates; {said}."
    words = Words(f"Estimate against exact: {_title(data)}", _caption(data, spec, said), alt)
    return Ranks(words, exact, estimate, list(found["names"]), str(data["metric"]["unit"]))


def _layers(data: Data, spec: Spec | None, strongest: int, wanted: int | str | None) -> Graph:
    """One circuit: rows are layers, nodes without an edge are left out."""
    circuit = _chosen(data["circuits"], strongest, wanted)
    size = data["graph"]
    graph = CircuitGraph(
        Architecture(size["n_layers"], size["n_heads"], size["d_model"], 1, 1, 1, is_parallel=size["parallel_attn_mlp"])
    )
    members = [int(edge) for edge in circuit["members"]]
    scores, errors = _scores(data, graph)
    nodes = _nodes(graph, graph.nodes_of(graph.members(members)))
    places = {node.name: (node.column, node.height) for node in nodes}
    edges, taken = [], dict[tuple[str, str], int]()
    for edge in sorted(members, key=lambda edge: abs(scores.get(edge, 0.0))):
        start, end = graph.names[edge].split("->")
        pair = (start, end.partition("<")[0])
        taken[pair] = taken.get(pair, 0) + 1
        score = scores.get(edge, 0.0)
        points = curve(places[pair[0]], places[pair[1]], taken[pair])
        label = signed(score) if scores else ""
        name = graph.names[edge] + (f" ± {errors[edge]:.2g}" if edge in errors else "")
        edges.append(GraphEdge(name, label, score if scores else 1.0, points, points[len(points) // 2]))
    faithful = circuit["faithfulness"]
    said = f"{circuit['n_edges']:,} edges" + ("" if faithful is None else f", faithfulness {faithful:.3g}")
    alt = f"A circuit of {said}, on {_title(data)}; its nodes: {', '.join(node.name for node in nodes[:20])}."
    words = Words(f"Circuit {circuit['name']}: {_title(data)}", _caption(data, spec, said), alt)
    return Graph(words, nodes, edges, f"score ({data['metric']['unit']})")


def _chosen(circuits: Sequence[Data], strongest: int, wanted: int | str | None) -> Data:
    if wanted is not None:
        named = [
            one for index, one in enumerate(circuits) if wanted in (index, one["name"]) or str(wanted) == one["name"]
        ]
        if named:
            return named[-1]
    small = [one for one in circuits if one["n_edges"] <= strongest]
    if small:
        return max(small, key=lambda one: one["n_edges"])
    return min(circuits, key=lambda one: one["n_edges"])


def _scores(data: Data, graph: CircuitGraph) -> tuple[dict[int, float], dict[int, float]]:
    """Score and error of each listed edge, by its index."""
    edges = data.get("edges")
    if edges is None:
        return {}, {}
    indices = edges.get("indices") or range(len(graph))
    return (
        dict(zip(indices, map(_number, edges["scores"]), strict=True)),
        {
            edge: error
            for edge, error in zip(indices, map(_number, edges["scores_sem"]), strict=True)
            if np.isfinite(error)
        },
    )


def _nodes(graph: CircuitGraph, names: Sequence[str]) -> list[GraphNode]:
    """Input at the bottom, logits on top; a layer's heads side by side, its MLP above them to the right."""
    n_heads, found = graph.architecture.n_heads, []
    middle = (n_heads - 1) / 2
    rows = sorted({_row(name, graph) for name in names})
    for name in names:
        column = middle
        if name.startswith("a"):
            column = float(name.partition(".h")[2])
        elif name.startswith("m"):
            column = n_heads + 0.2
        found.append(GraphNode(name, column, rows.index(_row(name, graph)) * SPACING))
    return found


def _row(name: str, graph: CircuitGraph) -> float:
    if name in ("input", "logits"):
        return -1.0 if name == "input" else 2.0 * graph.architecture.n_layers
    layer = int(name[1:].partition(".")[0])
    return 2.0 * layer + name.startswith("m")
