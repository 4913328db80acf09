"""Results of circuit jobs in their own forms: a CSV of edges, and graphs as EAP-IG and MIB write them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from planning.architecture import Architecture
from planning.circuit import CircuitGraph

Arrays = dict[str, NDArray[Any]]
EAP_IG = "application/vnd.eap-ig+json"


def graph_of(block: dict[str, Any]) -> CircuitGraph:
    """The edges of the model that a result is of."""
    cfg = block["graph"]
    sizes = {"n_layers": cfg["n_layers"], "n_heads": cfg["n_heads"], "d_model": cfg["d_model"]}
    return CircuitGraph(
        Architecture(**sizes, d_head=1, d_mlp=1, n_ctx=1, d_vocab=1, is_parallel=cfg["parallel_attn_mlp"])
    )


def edge_rows(block: dict[str, Any], arrays: Arrays) -> Iterator[bytes]:
    """One row per edge: its score with its error, if edges were scored, and 1 or 0 for each circuit."""
    graph, circuits = graph_of(block), block["circuits"]
    listed = _listed(block, graph)
    columns = [[graph.names[edge] for edge in listed]]
    names = ["edge"]
    if block["edges"] is not None:
        for name in ("scores", "scores_sem"):
            names.append(name.replace("scores", "score"))
            numbers = arrays[f"0/edges/{name}"]
            columns.append([text if text != "null" else "" for text in map(_number, numbers)])
    for index, circuit in enumerate(circuits):
        names.append(_quoted(f"in {circuit['name']}"))
        members = set(arrays[f"0/circuits/{index}/members"].tolist())
        columns.append([str(int(edge in members)) for edge in listed])
    yield (",".join(names) + "\r\n").encode()
    yield "".join(",".join(row) + "\r\n" for row in zip(*columns, strict=True)).encode()


def _listed(block: dict[str, Any], graph: CircuitGraph) -> list[int]:
    if block["edges"] is None or "indices" not in block["edges"]:
        return list(range(len(graph)))
    indices: list[int] = block["edges"]["indices"]
    return indices


def _number(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _quoted(text: str) -> str:
    escaped = text.replace('"', '""')
    return f'"{escaped}"'


def eap_ig_json(block: dict[str, Any], arrays: Arrays, circuit: int) -> bytes:
    """One circuit as EAP-IG's ``Graph.to_json`` writes it, with its sign: an edge that helps has a positive score."""
    graph = graph_of(block)
    members = np.zeros(len(graph), dtype=bool)
    members[arrays[f"0/circuits/{circuit}/members"]] = True
    nodes = set(graph.nodes_of(members))
    scores = np.zeros(len(graph))
    if block["edges"] is not None:
        scores[_listed(block, graph)] = -arrays["0/edges/scores"]
    cfg = {name: block["graph"][name] for name in ("n_layers", "n_heads", "parallel_attn_mlp", "d_model")}
    edges = {
        name: {"score": score, "in_graph": in_graph}
        for name, score, in_graph in zip(graph.names, (scores + 0.0).tolist(), members.tolist(), strict=True)
    }
    return orjson.dumps(
        {"cfg": cfg, "nodes": {name: {"in_graph": name in nodes} for name in graph.nodes}, "edges": edges}
    )
