"""Circuits as lists of paths, to hold one against the other."""

from typing import Any

import numpy as np

from planning.circuit import CircuitGraph, Members
from planning.circuit_nodes import reader_nodes
from tests.tiny_weights import node


def paths_of(graph: CircuitGraph, members: Members) -> list[list[dict[str, Any]]]:
    """Every way from the embedding to the logits within a circuit."""
    writers, readers = graph.ends
    nodes_of = [one.model_dump(exclude_none=True) for one in reader_nodes(graph)]
    found: list[list[dict[str, Any]]] = []

    def follow(writer: int, path: list[dict[str, Any]]) -> None:
        for edge in np.flatnonzero(members & (writers == writer)):
            longer = [*path, nodes_of[readers[edge]]]
            if readers[edge] == len(graph.readers) - 1:
                found.append(longer)
            else:
                follow(int(graph.node_of_reader[readers[edge]]), longer)

    follow(0, [node("embed")])
    return found


def random_ways(graph: CircuitGraph, draws: np.random.Generator) -> Members:
    """A few ways from the embedding to the logits."""
    members = np.zeros(len(graph), dtype=bool)
    for _ in range(3):
        writer = 0
        while writer < len(graph.writers):
            edge = draws.choice(np.flatnonzero(graph.ends[0] == writer))
            members[edge] = True
            writer = int(graph.node_of_reader[graph.ends[1][edge]])
    return members
