"""Runs in which every input is put together edge by edge, for many edge sets at once.

A reader reads ``base + sum over its live edges of (live - base)``: edges of the set carry what their writer writes in
this very run, all others what it writes in the base. Writers without a live edge out of them are not computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from planning.circuit import INPUTS, CircuitGraph
from worker.engine import model, transformer
from worker.engine.edge_sums import EdgeSums, Memory, Read
from worker.engine.model import Weights
from worker.engine.rows import Rows, chosen
from worker.engine.runs import Runs


@dataclass(frozen=True, eq=False)
class Base:
    """What edges outside a set carry: every writer's source value, and the stream that these add up to."""

    runs: Runs
    memory: Memory = field(default_factory=Memory)
    """What the changes of one run after another are kept in."""
    _projections: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    @property
    def weights(self) -> Weights:
        """The model."""
        return self.runs.weights

    def written(self, hook: str, layer: int | None) -> Float[Tensor, "batch pos ..."]:
        """What writers carry: heads' ``z``, ``mlp_out`` or ``embed``."""
        return self.runs.source_value(hook, layer)

    def stream(self, point: str, layer: int) -> Float[Tensor, "batch pos d_model"]:
        """The stream that readers read without any live edge: ``resid_pre`` or ``resid_mid`` of a layer."""
        if self.runs.source == "new":
            return self.runs.new(point, layer)
        return self._summed[point, layer]

    def projected(self, hook: str, layer: int) -> Float[Tensor, "batch pos n_heads d_head"]:
        """Queries, keys or values that every query head reads without any live edge."""
        if self.runs.source == "new":
            return transformer.per_query_head(self.runs.new(hook, layer), self.weights.architecture.n_heads)
        if layer not in self._projections:
            stream = self.stream("resid_pre", layer)
            normed = transformer.norm(self.weights, "ln1", layer, stream)
            self._projections[layer] = model.queries_keys_values(self.weights, layer, normed)
        own = self._projections[layer]["qkv".index(hook)]
        return transformer.per_query_head(own, self.weights.architecture.n_heads)

    @cached_property
    def _summed(self) -> dict[tuple[str, int], Tensor]:
        """Position embeddings and output biases stay; every writer has its source value."""
        n_layers = self.weights.architecture.n_layers
        stream = self.runs.orig("pos_embed", None) + self.written("embed", None)
        found = {}
        for layer in range(n_layers):
            found["resid_pre", layer] = stream
            stream = stream + transformer.output(self.weights, "z", layer, self.written("z", layer))
            found["resid_mid", layer] = stream
            stream = stream + self.written("mlp_out", layer)
        found["resid_pre", n_layers] = stream
        return found


def circuit_run(
    base: Base, sets: Shaped[Tensor, "cell reader writer"], rows: Rows | None = None
) -> Float[Tensor, "batch cell row d_model"]:
    """The last residual stream of a run for each edge set.

    Args:
        rows: Those that will be read of it; by default all positions.
    """
    return EdgeRun(base, EdgeSums(sets, base.runs.orig("embed", None), base.memory), rows=rows).to_end()


def moved_by_attention(graph: CircuitGraph, edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which writers some later key or value sees, at any remove: of all others only the rows that are read matter."""
    found = np.zeros(len(graph.nodes), dtype=bool)
    inputs = np.arange(len(graph.readers)) % graph.readers_per_layer
    is_moved = (inputs < graph.readers_per_layer - 1) & (inputs % 3 > 0)  # keys and values
    is_moved[-1] = False
    of_writers = np.ascontiguousarray(edges.T)
    for writer in np.flatnonzero(of_writers.any(axis=1))[::-1]:
        found[writer] = (of_writers[writer] & is_moved).any()
        if found[writer]:
            is_moved[graph.node_of_reader == writer] = True
    return found


def floats_per_cell(graph: CircuitGraph, n_live_writers: int, n_examples: int, n_pos: int) -> int:
    """Memory of one edge set in work, in numbers: its writers' changes, and one layer's inputs."""
    architecture = graph.architecture
    per_row = (1 + n_live_writers + 2 * graph.readers_per_layer) * architecture.d_model + 2 * architecture.d_mlp
    return n_examples * n_pos * per_row


class EdgeRun:
    """One run: each layer reads what the live writers have written so far, and writes."""

    def __init__(
        self,
        base: Base,
        sums: EdgeSums,
        embedded: Float[Tensor, "batch pos d_model"] | None = None,
        rows: Rows | None = None,
    ) -> None:
        """
        Args:
            embedded: What the input writes; orig's token embeddings by default.
            rows: Those that will be read of the last stream; by default all positions.
        """
        self.base, self.weights, self.sums = base, base.weights, sums
        self.graph = CircuitGraph(base.weights.architecture)
        self._rows = rows
        self._is_moved = moved_by_attention(self.graph, sums.edges)
        if 0 in sums.column:
            orig = base.runs.orig("embed", None) if embedded is None else embedded
            sums.put(0, orig.expand(sums.n_cells, *orig.shape), base.written("embed", None))

    def to_end(self) -> Float[Tensor, "batch cell row d_model"]:
        """Run all layers, and read the last residual stream."""
        for layer in range(self.weights.architecture.n_layers):
            self.layer(layer)
        stream = self.base.stream("resid_pre", self.weights.architecture.n_layers)
        return self._read([len(self.graph.readers) - 1], stream, self._rows)[:, 0].transpose(0, 1)

    def layer(self, layer: int) -> None:
        """Let the layer's live heads and its MLP write."""
        first = 1 + layer * (self.weights.architecture.n_heads + 1)
        heads = [head for head in range(self.weights.architecture.n_heads) if first + head in self.sums.column]
        if heads:
            self._let_heads_write(layer, heads)
        if first + self.weights.architecture.n_heads in self.sums.column:
            self._let_mlp_write(layer)

    def _read(self, readers: list[int], stream: Float[Tensor, "batch pos d_model"], rows: Rows | None) -> Read:
        return self.sums.read(readers, self.graph.writers_before(readers[0]), stream, rows)

    def _rows_of(self, writer: int) -> Rows | None:
        """The rows of a writer that matter; None for all."""
        return None if self._is_moved[writer] else self._rows

    def _let_mlp_write(self, layer: int) -> None:
        writer = (layer + 1) * (self.weights.architecture.n_heads + 1)
        rows = self._rows_of(writer)
        point = "resid_pre" if self.weights.architecture.is_parallel else "resid_mid"
        reader = (layer + 1) * self.graph.readers_per_layer - 1
        resid = self._read([reader], self.base.stream(point, layer), rows)[:, 0]
        source = self.base.written("mlp_out", layer)
        written = transformer.mlp(self.weights, layer, resid)
        self.sums.put(writer, written, source if rows is None else rows.take(source), rows)

    def _let_heads_write(self, layer: int, heads: list[int]) -> None:
        q, k, v = self._projected(layer, heads)
        z = transformer.attend_prompts(self.weights, layer, q, k, v)
        first = 1 + layer * (self.weights.architecture.n_heads + 1)
        source = self.base.written("z", layer)
        if self.weights.ln1_post_w is None:
            change = z - source[:, :, chosen(heads, z.device)]
            dz = change.movedim(3, 0).contiguous()  # each head in one piece
            for place, n_heads in in_runs([(head,) for head in heads], self._is_moved[first:][heads].tolist()):
                head, own = heads[place], slice(place, place + n_heads)
                weight = self.weights.W_O[layer, head : head + n_heads]
                self.sums.put_products(first + head, dz[own], weight, self._rows_of(first + head))
            return
        live = source.expand(len(z), *source.shape).clone()
        live[:, :, :, chosen(heads, z.device)] = z
        written, base = (heads_writes(self.weights, layer, values) for values in (live, source))
        for head in heads:
            self.sums.put(first + head, written[:, :, :, head], base[:, :, head])

    def _projected(self, layer: int, heads: list[int]) -> list[Float[Tensor, "cell batch pos heads d_head"]]:
        """Queries, keys and values of some heads; the base's where no edge into them is live."""
        first, n_readers = 1 + layer * (self.weights.architecture.n_heads + 1), self.graph.readers_per_layer
        is_read = np.any(self.sums.edges[layer * n_readers :][:n_readers], axis=1).tolist()
        inputs = [(part, head) for part in range(3) for head in heads if is_read[3 * head + part]]
        few = [(part, head) for part, head in inputs if part == 0 and self._rows_of(first + head) is not None]
        found = self._computed(layer, [one for one in inputs if one not in few], None)
        for one, values in self._computed(layer, few, self._rows).items():
            found[one] = self._at_rows(self.base.projected("q", layer)[:, :, one[1]], values)
        projected = []
        for part, hook in enumerate(INPUTS):
            base = self.base.projected(hook, layer).expand(self.sums.n_cells, -1, -1, -1, -1)
            own = [found[part, head] if (part, head) in found else base[..., head, :] for head in heads]
            projected.append(torch.stack(own, dim=3))
        return projected

    def _computed(
        self, layer: int, inputs: list[tuple[int, int]], rows: Rows | None
    ) -> dict[tuple[int, int], Float[Tensor, "cell batch row d_head"]]:
        """Queries (0), keys (1) or values (2), in this order, of heads, each from an input of its own."""
        if not inputs:
            return {}
        start = layer * self.graph.readers_per_layer
        readers, places = self.sums.distinct([start + 3 * head + part for part, head in inputs])
        normed = self._normed(layer, readers, rows)
        found: dict[tuple[int, int], Tensor] = {}
        size = self.weights.architecture.group_size
        owners = [head // (size if part else 1) for part, head in inputs]
        for one, n_heads in in_runs(list(zip(owners, places, strict=True)), [part for part, _ in inputs]):
            own = normed[places[one] :][:n_heads]
            values = head_projections(self.weights, INPUTS[inputs[one][0]], layer, owners[one], own)
            found |= zip(inputs[one:], values, strict=False)
        return found

    def _normed(
        self, layer: int, readers: list[int], rows: Rows | None
    ) -> Float[Tensor, "own_reader cell batch row d_model"]:
        """What readers of a layer's first norm read, normalised."""
        read = self._read(readers, self.base.stream("resid_pre", layer), rows)
        in_memory = sorted(range(4), key=read.stride, reverse=True)  # a norm would copy any other order
        there = transformer.norm(self.weights, "ln1", layer, read.permute(*in_memory, 4))
        return there.permute(*(in_memory.index(axis) for axis in range(4)), 4).transpose(0, 1)

    def _at_rows(
        self, base: Float[Tensor, "batch pos d_head"], values: Float[Tensor, "cell batch row d_head"]
    ) -> Float[Tensor, "cell batch pos d_head"]:
        """The base's values, but at the rows that matter."""
        assert self._rows is not None
        found = base.expand(len(values), *base.shape).clone()
        found[:, torch.arange(len(base), device=base.device)[:, None], self._rows.index] = values
        return found


def heads_writes(
    weights: Weights, layer: int, z: Float[Tensor, "*rows head_index d_head"]
) -> Float[Tensor, "*rows head_index d_model"]:
    """What each head adds to the stream; a norm after attention scales all of a layer's by one factor of their sum.

    What such a norm makes of the output bias depends on the heads: each has an equal share of it.
    """
    written = torch.einsum("...hk,hkd->...hd", z, weights.W_O[layer])
    if weights.ln1_post_w is None:
        return written
    assert weights.architecture.norm == "rms_norm"
    total = model.written(weights, "z", layer, z)
    factor = (total.square().mean(dim=-1, keepdim=True) + weights.architecture.eps).rsqrt() * weights.ln1_post_w[layer]
    return (written + weights.b_O[layer] / weights.architecture.n_heads) * factor[..., None, :]


def head_projections(
    weights: Weights, hook: str, layer: int, first: int, normed: Float[Tensor, "head *rows d_model"]
) -> Float[Tensor, "head *rows d_head"]:
    """Queries, keys or values of neighbouring heads, each from its own normalised rows."""
    heads = slice(first, first + len(normed))
    weight = {"q": weights.W_Q, "k": weights.W_K, "v": weights.W_V}[hook][layer, heads]
    bias = {"q": weights.b_Q, "k": weights.b_K, "v": weights.b_V}[hook][layer, heads]
    return torch.baddbmm(bias[:, None], normed.flatten(1, -2), weight).view(*normed.shape[:-1], -1)


def in_runs(numbers: Sequence[tuple[int, ...]], kinds: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where a run of one kind begins in which all numbers count up by one, and how long it is."""
    begin = 0
    for place in range(1, len(numbers) + 1):
        before = [number + 1 for number in numbers[place - 1]]
        if place == len(numbers) or [*numbers[place]] != before or kinds[place] != kinds[place - 1]:
            yield begin, place - begin
            begin = place
