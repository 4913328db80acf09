"""The result of a circuit job: every edge's score, and circuits as sets of edges."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from pathpatch.results.data import _HEAD_FIELDS
from pathpatch.results.files import ENDINGS, HEAD_ENTRY, UnknownEnding
from pathpatch.results.result import Result
from planning.architecture import Architecture
from planning.circuit import CircuitGraph

if TYPE_CHECKING:
    import pandas


class NoSuchCircuit(LookupError):
    """A result has no circuit of that name or size."""


@dataclass(frozen=True, eq=False)
class FoundCircuit:
    """One circuit of a result."""

    fields: Mapping[str, Any]
    """As the service answers: name, sizes, metric, faithfulness, members."""
    result: "CircuitResult"

    @property
    def name(self) -> str:
        """Its own name, or how many edges were asked for."""
        return str(self.fields["name"])

    @property
    def faithfulness(self) -> float | None:
        """1 does what the model does, 0 what the empty circuit does; None where these are equal."""
        value = self.fields["faithfulness"]
        return None if value is None else float(value)

    @property
    def members(self) -> list[int]:
        """Its edges, by index among all of the model's."""
        return [int(edge) for edge in self.fields["members"]]

    @property
    def edges(self) -> list[str]:
        """Its edges by name, in the order of a forward pass: `a5.h1->a9.h9<q>`."""
        names = self.result.graph_of_model.names
        return [names[edge] for edge in self.members]

    @property
    def nodes(self) -> list[str]:
        """Its nodes by name."""
        graph = self.result.graph_of_model
        return graph.nodes_of(graph.members(self.members))

    @property
    def scores(self) -> dict[str, float]:
        """Score of each edge that was scored: the metric's change when it alone is patched."""
        known = self.result.scores
        return {name: known[name] for name in self.edges if name in known}

    def graph(self) -> dict[str, Any]:
        """The graph as EAP-IG and MIB write it, with their sign: an edge that helps has a positive score."""
        graph, nodes, scores, own = self.result.graph_of_model, set(self.nodes), self.result.scores, set(self.edges)
        return {
            "cfg": {name: self.result.data["graph"][name] for name in CFG},
            "nodes": {name: {"in_graph": name in nodes} for name in graph.nodes},
            "edges": {name: {"score": -scores.get(name, 0.0) + 0.0, "in_graph": name in own} for name in graph.names},
        }

    def to_networkx(self) -> Any:
        """A directed graph of its nodes; edges have `input` (q, k, v or none) and `score` (needs networkx)."""
        import networkx  # type: ignore[import-untyped]

        found = networkx.MultiDiGraph(name=self.name)
        found.add_nodes_from(self.nodes)
        scores = self.scores
        for name in self.edges:
            start, end = name.split("->")
            node, _, part = end.rstrip(">").partition("<")
            found.add_edge(start, node, input=part or None, score=scores.get(name))
        return found


CFG = ("n_layers", "n_heads", "parallel_attn_mlp", "d_model")


@dataclass(frozen=True, eq=False, repr=False)
class CircuitResult(Result):
    """A circuit job's result: ``result.scores``, ``result.circuit(300).edges``, ``result.cpr``."""

    marked_by: ClassVar[str] = "circuits"
    data: dict[str, Any] = field(default_factory=dict)
    """What the service answered."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> Self:
        """A result from JSON, or from the entries of an npz file."""
        said = spec if spec is not None else data.get("spec")
        body = _nested(data)
        head = {name: body[name] for name in _HEAD_FIELDS if name in body}
        return cls(blocks=(), spec=None if said is None else dict(said), data=body, **head)

    def to_json(self) -> dict[str, Any]:
        """The result as the service sends it, with its spec."""
        whole: dict[str, Any] = json.loads(json.dumps(self.data, default=_listed))
        return whole | ({} if self.spec is None else {"spec": self.spec})

    @cached_property
    def graph_of_model(self) -> CircuitGraph:
        """All edges of the model."""
        size = self.data["graph"]
        return CircuitGraph(
            Architecture(
                n_layers=size["n_layers"],
                n_heads=size["n_heads"],
                d_model=size["d_model"],
                d_head=1,
                d_mlp=1,
                n_ctx=1,
                d_vocab=1,
                is_parallel=size["parallel_attn_mlp"],
            )
        )

    @cached_property
    def scores(self) -> dict[str, float]:
        """Score of every edge: the metric's change when it alone is patched, so that edges that help are negative."""
        edges = self.data.get("edges")
        if edges is None:
            return {}
        return dict(zip(edges["names"], map(float, edges["scores"]), strict=True))

    @property
    def circuits(self) -> list[FoundCircuit]:
        """The circuits, in the order in which they were asked for."""
        return [FoundCircuit(fields, self) for fields in self.data["circuits"]]

    def circuit(self, name: str | int) -> FoundCircuit:
        """A circuit by the number of edges that was asked for, or by its name.

        Raises:
            NoSuchCircuit: There is none.
        """
        for circuit in self.circuits:
            if circuit.name == str(name):
                return circuit
        known = ", ".join(circuit.name for circuit in self.circuits)
        raise NoSuchCircuit(f"no circuit {name!r} in this result: it has {known}")

    @property
    def cpr(self) -> float | None:
        """MIB's circuit performance ratio; None for sizes that are no fractions."""
        return self.data["cpr"]  # type: ignore[no-any-return]

    @property
    def cmd(self) -> float | None:
        """MIB's circuit-model distance; 0 is best."""
        return self.data["cmd"]  # type: ignore[no-any-return]

    @property
    def tests(self) -> dict[str, Any]:
        """Completeness, minimality and random circuits, as far as they were asked for."""
        return self.data.get("tests") or {}

    def graph(self, strongest: int = 300, **options: Any) -> Any:
        """The largest circuit of at most so many edges, drawn in layers; ``circuit`` names another."""
        return self.plot(kind="circuit", strongest=strongest, **options)

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row per scored edge: its score, its error, and whether each circuit has it (needs pandas)."""
        import pandas

        edges, graph = self.data.get("edges"), self.graph_of_model
        names = graph.names if edges is None else list(edges["names"])
        columns: dict[str, Any] = {"edge": names}
        if edges is not None:
            columns |= {"score": list(edges["scores"]), "score_sem": list(edges["scores_sem"])}
        for circuit in self.circuits:
            own = set(circuit.edges)
            columns[f"in {circuit.name}"] = [name in own for name in names]
        return pandas.DataFrame(columns)

    def save(self, path: str | Path) -> Path:
        """Write ``.npz``, ``.json`` or ``.csv`` by the ending, npz where there is none; and return the path."""
        file = Path(path)
        file = file if file.suffix else file.with_name(f"{file.name}.npz")
        if file.suffix not in ENDINGS:
            raise UnknownEnding(file)
        if file.suffix == ".json":
            file.write_text(json.dumps(self.to_json(), allow_nan=False))
        elif file.suffix == ".csv":
            self.to_dataframe().to_csv(file, index=False)
        else:
            file.write_bytes(_npz(self.to_json()))
        return file

    def __repr__(self) -> str:
        return "\n".join(
            [f"{self._title}: {len(self.scores):,} edges scored, n = {self.data['n_examples']}", *self._rows()]
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def _title(self) -> str:
        return str(self.data["metric"].get("title") or self.data["metric"]["kind"])

    def _rows(self) -> list[str]:
        rows = [f"{'circuit':>12} {'edges':>8} {'nodes':>6} {'metric':>10} {'faithfulness':>13}"]
        for circuit in self.circuits:
            own = circuit.fields
            faithful = "" if circuit.faithfulness is None else f"{circuit.faithfulness:.3f}"
            metric = own["metric"]["mean"]
            shown = "" if metric is None else f"{metric:.4g}"
            rows.append(f"{circuit.name[:12]:>12} {own['n_edges']:>8,} {own['n_nodes']:>6,} {shown:>10} {faithful:>13}")
        if self.cpr is not None and self.cmd is not None:
            rows.append(f"CPR {self.cpr:.3f} (higher is better), CMD {self.cmd:.3f} (0 is best)")
        return rows


def result_from(data: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> Result:
    """A result of whichever kind, from JSON or from the entries of an npz file."""
    return (CircuitResult if "circuits" in data else Result).from_json(data, spec)


def _listed(value: Any) -> Any:
    """Arrays as lists; what is not a number as null."""
    if isinstance(value, np.generic):
        return value.item()
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        return [number if np.isfinite(number) else None for number in value.tolist()]
    return value.tolist()


def _nested(data: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of an npz file in their places: ``edges/scores``, ``circuits/3/members``."""
    body = {name: value for name, value in data.items() if "/" not in name}
    for name, value in data.items():
        if "/" in name:
            *path, last = name.split("/")
            place: Any = body
            for part in path:
                place = place[int(part) if isinstance(place, list) else part]
            place[last] = value
    return body


def _npz(whole: dict[str, Any]) -> bytes:
    """The arrays as the service names them, and ``head``: the rest as UTF-8 JSON."""
    arrays: dict[str, Any] = {}
    if whole.get("edges") is not None:
        listed = ("scores", "scores_sem", "scores_resampled_sem")
        for name in [name for name in listed if whole["edges"].get(name) is not None]:
            arrays[f"0/edges/{name}"] = np.array(whole["edges"].pop(name), dtype=np.float32)
    for index, circuit in enumerate(whole["circuits"]):
        arrays[f"0/circuits/{index}/members"] = np.array(circuit.pop("members"), dtype=np.int32)
    arrays[HEAD_ENTRY] = np.frombuffer(json.dumps(whole).encode(), dtype=np.uint8)
    file = BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()
