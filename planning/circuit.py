"""A model as a graph of edges, under EAP-IG's names and in its order; circuits are sets of these edges.

A *writer* adds to the residual stream: ``input`` (the token embedding), a head ``a{layer}.h{head}``, an MLP
``m{layer}``. A *reader* is an input of its own: a head's ``<q>``, ``<k>`` or ``<v>``, an MLP's, or ``logits``. An edge
``a0.h1->a2.h3<q>`` joins a writer to a later reader. Edges are counted per query head, as MIB counts them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from planning.architecture import Architecture

Indices = NDArray[np.int64]
Members = NDArray[np.bool_]
"""Which edges are in a circuit, by the edges' indices."""
INPUTS: tuple[Literal["q"], Literal["k"], Literal["v"]] = ("q", "k", "v")
_HEAD = re.compile(r"a(\d+)\.h(\d+)(?:<(\w+)>)?")
_MLP = re.compile(r"m(\d+)")


def edge_count(architecture: Architecture) -> int:
    """How many edges a model has, without listing them."""
    graph, size = CircuitGraph(architecture), 3 * architecture.n_heads + 1
    layers = range(architecture.n_layers)
    of_heads = sum((size - 1) * graph.writers_before(layer * size) for layer in layers)
    of_mlps = sum(graph.writers_before(layer * size + size - 1) for layer in layers)
    return of_heads + of_mlps + graph.writers_before(architecture.n_layers * size)


class UnfitEdge(ValueError):
    """An edge that a model does not have; the sentence says why."""


@dataclass(frozen=True)
class CircuitGraph:
    """Writers, readers and edges of a model, each counted from 0 in the order of a forward pass."""

    architecture: Architecture

    @cached_property
    def writers(self) -> list[str]:
        """Names of what writes: ``input``, then of each layer its heads and its MLP."""
        found = ["input"]
        for layer in range(self.architecture.n_layers):
            found += [f"a{layer}.h{head}" for head in range(self.architecture.n_heads)]
            found.append(f"m{layer}")
        return found

    @cached_property
    def nodes(self) -> list[str]:
        """The writers, then ``logits``."""
        return [*self.writers, "logits"]

    @cached_property
    def readers(self) -> list[str]:
        """Names of what reads: of each layer every head's q, k and v, then its MLP; ``logits`` last."""
        found = []
        for layer in range(self.architecture.n_layers):
            found += [f"a{layer}.h{head}<{part}>" for head in range(self.architecture.n_heads) for part in INPUTS]
            found.append(f"m{layer}")
        return [*found, "logits"]

    @property
    def readers_per_layer(self) -> int:
        """Inputs of its heads and of its MLP."""
        return 3 * self.architecture.n_heads + 1

    def writers_before(self, reader: int) -> int:
        """How many writers, from ``input`` on, a reader can read; in a parallel block not the heads of its layer."""
        per_layer = self.architecture.n_heads + 1
        layer, part = divmod(reader, self.readers_per_layer)
        reads_heads = part == self.readers_per_layer - 1 and not self.architecture.is_parallel
        return 1 + layer * per_layer + (self.architecture.n_heads if reads_heads else 0)

    @cached_property
    def node_of_reader(self) -> Indices:
        """The node whose input each reader is: a head's q, k and v are one node's."""
        n_heads, per_layer = self.architecture.n_heads, self.architecture.n_heads + 1
        own = [*np.repeat(np.arange(n_heads), 3), n_heads]
        layers = [1 + layer * per_layer + np.array(own) for layer in range(self.architecture.n_layers)]
        return np.concatenate([*layers, [len(self.writers)]]).astype(np.int64)

    @cached_property
    def ends(self) -> tuple[Indices, Indices]:
        """Writer and reader of every edge, in EAP-IG's order."""
        pairs = [self._block(first, last) for first, last in self._reader_blocks()]
        writers, readers = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return writers, readers

    def _reader_blocks(self) -> Iterable[tuple[int, int]]:
        """Runs of readers that share their writers: EAP-IG lists these by writer, then by reader."""
        size = self.readers_per_layer
        for layer in range(self.architecture.n_layers):
            start, stop = layer * size, (layer + 1) * size
            yield from [(start, stop)] if self.architecture.is_parallel else [(start, stop - 1), (stop - 1, stop)]
        yield self.architecture.n_layers * size, self.architecture.n_layers * size + 1

    def _block(self, first: int, last: int) -> tuple[Indices, Indices]:
        count = self.writers_before(first)
        return np.repeat(np.arange(count), last - first), np.tile(np.arange(first, last), count)

    def __len__(self) -> int:
        """How many edges there are."""
        return len(self.ends[0])

    @cached_property
    def names(self) -> list[str]:
        """Of every edge."""
        return [
            f"{self.writers[w]}->{self.readers[r]}" for w, r in zip(*map(np.ndarray.tolist, self.ends), strict=True)
        ]

    @cached_property
    def index(self) -> Indices:
        """(reader, writer): the edge between them, or -1."""
        found = np.full((len(self.readers), len(self.writers)), -1, dtype=np.int64)
        found[self.ends[1], self.ends[0]] = np.arange(len(self))
        return found

    def matrix(self, members: NDArray[Any]) -> Members:
        """Edge sets (..., edge) as matrices (..., reader, writer)."""
        found = np.zeros((*members.shape[:-1], len(self.readers), len(self.writers)), dtype=bool)
        found[..., self.ends[1], self.ends[0]] = members
        return found

    def members(self, edges: Iterable[int]) -> Members:
        """An edge set from indices."""
        found = np.zeros(len(self), dtype=bool)
        found[np.fromiter(edges, dtype=np.int64)] = True
        return found

    def edge(self, name: str) -> int:
        """The index of an edge.

        Raises:
            UnfitEdge: No edge of this model has that name.
        """
        parts = name.split("->")
        if len(parts) != 2:
            raise UnfitEdge(f"{name!r} is no edge: an edge is written like 'a0.h1->a2.h3<q>', 'm1->m2' or 'm1->logits'")
        writer, reader = self._writer(parts[0], name), self._reader(parts[1], name)
        if writer >= self.writers_before(reader):
            raise UnfitEdge(self._backwards(name, writer, reader))
        return int(self.index[reader, writer])

    def _backwards(self, name: str, writer: int, reader: int) -> str:
        start, end = self.writers[writer], self.readers[reader]
        if int(self.node_of_reader[reader]) == writer:
            return f"{name!r} leads from a node to itself"
        layer = (writer - 1) // (self.architecture.n_heads + 1)
        if reader // self.readers_per_layer == layer:
            if end.startswith("a") and start.startswith("a"):
                return f"{name!r} does not exist: heads of one layer do not read one another"
            if end.startswith("m"):
                return (
                    f"{name!r} does not exist: in this model attention and MLP of a layer are parallel, "
                    f"so {end} reads before {start} writes"
                )
        return f"{name!r} leads backwards: {end} reads before {start} writes"

    def _writer(self, text: str, name: str) -> int:
        if text == "input":
            return 0
        if text == "logits":
            raise UnfitEdge(f"{name!r} is no edge: logits write nothing")
        layer, head, part = self._place(text, name)
        if part is not None:
            raise UnfitEdge(f"{name!r} is no edge: a head writes one output, so <{part}> belongs to the end of an edge")
        return 1 + layer * (self.architecture.n_heads + 1) + (self.architecture.n_heads if head is None else head)

    def _reader(self, text: str, name: str) -> int:
        if text == "logits":
            return len(self.readers) - 1
        if text == "input":
            raise UnfitEdge(f"{name!r} leads backwards: nothing is written before input")
        layer, head, part = self._place(text, name)
        start = layer * self.readers_per_layer
        if head is None:
            return start + self.readers_per_layer - 1
        if part not in INPUTS:
            raise UnfitEdge(f"{name!r} is no edge: an edge ends in a head's <q>, <k> or <v>, as in '{text}<q>'")
        return start + 3 * head + INPUTS.index(part)

    def _place(self, text: str, name: str) -> tuple[int, int | None, str | None]:
        """Layer, head and input of a node."""
        n_layers, n_heads = self.architecture.n_layers, self.architecture.n_heads
        is_head, is_mlp = _HEAD.fullmatch(text), _MLP.fullmatch(text)
        found = is_head or is_mlp
        if found is None:
            raise UnfitEdge(f"{name!r} is no edge: {text!r} is none of 'input', 'a5.h1', 'm3' and 'logits'")
        layer, head = int(found[1]), int(is_head[2]) if is_head else None
        if layer >= n_layers:
            raise UnfitEdge(f"{name!r} does not exist: this model has layers 0 to {n_layers - 1}")
        if head is not None and head >= n_heads:
            raise UnfitEdge(f"{name!r} does not exist: this model has heads 0 to {n_heads - 1}")
        return layer, head, is_head[3] if is_head else None

    def nodes_of(self, members: Members) -> list[str]:
        """The nodes that have an edge of the set, in order."""
        writers, readers = self.ends
        found = np.union1d(writers[members], self.node_of_reader[readers[members]])
        return [self.nodes[node] for node in found]

    def pruned(self, members: Members) -> Members:
        """The set without dead ends: every node left has a way from ``input`` and one to ``logits``."""
        writers, readers = self.ends
        ends, kept = self.node_of_reader[readers], members.copy()
        while True:
            has_in, has_out = np.zeros((2, len(self.nodes)), dtype=bool)
            has_in[ends[kept]] = True
            has_out[writers[kept]] = True
            has_in[0] = has_out[-1] = True
            alive = kept & has_in[writers] & has_out[ends]
            if (alive == kept).all():
                return alive
            kept = alive
