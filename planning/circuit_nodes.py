"""The writers and readers of a model's edges as nodes of a path patch."""

from typing import Literal

from api_schemas.nodes import Node
from planning.architecture import Architecture
from planning.circuit import INPUTS, CircuitGraph


def writer_nodes(graph: CircuitGraph) -> list[Node]:
    """The senders, in the order of ``graph.writers``."""
    found = [Node(hook="embed")]
    for layer in range(graph.architecture.n_layers):
        found += [Node(hook="z", layer=layer, head=head) for head in range(graph.architecture.n_heads)]
        found.append(Node(hook="mlp_out", layer=layer))
    return found


def reader_nodes(graph: CircuitGraph) -> list[Node]:
    """The receivers, in the order of ``graph.readers``."""
    architecture, found = graph.architecture, []
    for layer in range(architecture.n_layers):
        heads = range(architecture.n_heads)
        found += [_input(architecture, part, layer, head) for head in heads for part in INPUTS]
        found.append(Node(hook="mlp_in", layer=layer))
    return [*found, Node(hook="resid_post", layer=architecture.n_layers - 1)]


def _input(architecture: Architecture, part: Literal["q", "k", "v"], layer: int, head: int) -> Node:
    """What one query head reads; under grouped heads its neighbours keep their keys and values."""
    if part == "q" or architecture.group_size == 1:
        return Node(hook=part, layer=layer, head=head)
    return Node(hook=part, layer=layer, query_head=head)
