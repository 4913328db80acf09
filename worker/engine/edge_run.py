"""Runs in which every input is put together edge by edge, for many edge sets at once.

A reader reads ``base + sum over its live edges of (live - base)``: edges of the set carry what their writer writes in
this very run, all others what it writes in the base. Writers without a live edge out of them are not computed.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

from planning.circuit import INPUTS, CircuitGraph
from worker.engine import model, transformer
from worker.engine.edge_sums import EdgeSums, Read
from worker.engine.model import Weights
from worker.engine.rows import Rows, chosen
from worker.engine.runs import Runs


@dataclass(frozen=True, eq=False)
class Base:
    """What edges outside a set carry: every writer's source value, and the stream that these add up to."""

    runs: Runs
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
    return EdgeRun(base, EdgeSums(sets, base.runs.orig("embed", None)), rows=rows).to_end()


def moved_by_attention(graph: CircuitGraph, edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which writers some later key or value sees, at any remove: of all others only the rows that are read matter."""
    found = np.zeros(len(graph.nodes), dtype=bool)
    inputs = np.arange(len(graph.readers)) % graph.readers_per_layer
    is_key_or_value = (inputs < graph.readers_per_layer - 1) & (inputs % 3 > 0)
    is_key_or_value[-1] = False
    for writer in np.flatnonzero(edges.any(axis=0))[::-1]:
        into = np.flatnonzero(edges[:, writer])
        found[writer] = is_key_or_value[into].any() or found[graph.node_of_reader[into]].any()
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
            sums.put(0, (orig - base.written("embed", None))[None].expand(sums.n_cells, -1, -1, -1))

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
        self.sums.put(writer, written - (source if rows is None else rows.take(source)), rows)

    def _let_heads_write(self, layer: int, heads: list[int]) -> None:
        q, k, v = self._projected(layer, heads)
        z = transformer.attend_prompts(self.weights, layer, q, k, v)
        first = 1 + layer * (self.weights.architecture.n_heads + 1)
        source = self.base.written("z", layer)
        if self.weights.ln1_post_w is None:
            dz = z - source[:, :, chosen(heads, z.device)]
            for place, head in enumerate(heads):
                self.sums.put_product(
                    first + head, dz[..., place, :], self.weights.W_O[layer, head], self._rows_of(first + head)
                )
            return
        live = source.expand(len(z), *source.shape).clone()
        live[:, :, :, chosen(heads, z.device)] = z
        written, base = (heads_writes(self.weights, layer, values) for values in (live, source))
        for head in heads:
            self.sums.put(first + head, written[:, :, :, head] - base[:, :, head])

    def _projected(self, layer: int, heads: list[int]) -> list[Float[Tensor, "cell batch pos heads d_head"]]:
        """Queries, keys and values of some heads; the base's where no edge into them is live."""
        first, n_readers = 1 + layer * (self.weights.architecture.n_heads + 1), self.graph.readers_per_layer
        is_read = np.any(self.sums.edges[layer * n_readers :][:n_readers], axis=1).tolist()
        inputs = [(head, part) for head in heads for part in range(3) if is_read[3 * head + part]]
        few = [(head, part) for head, part in inputs if part == 0 and self._rows_of(first + head) is not None]
        found = self._computed(layer, [one for one in inputs if one not in few], None)
        for one, values in self._computed(layer, few, self._rows).items():
            found[one] = self._at_rows(self.base.projected("q", layer)[:, :, one[0]], values)
        known = [self.base.projected(hook, layer).expand(self.sums.n_cells, -1, -1, -1, -1) for hook in INPUTS]
        return [
            torch.stack([found.get((head, part), known[part][..., head, :]) for head in heads], dim=3)
            for part in range(3)
        ]

    def _computed(
        self, layer: int, inputs: list[tuple[int, int]], rows: Rows | None
    ) -> dict[tuple[int, int], Float[Tensor, "cell batch row d_head"]]:
        """Queries (0), keys (1) or values (2) of heads, each from an input of its own."""
        if not inputs:
            return {}
        start = layer * self.graph.readers_per_layer
        readers = [start + 3 * head + part for head, part in inputs]
        read = self._read(readers, self.base.stream("resid_pre", layer), rows)
        in_memory = sorted(range(4), key=read.stride, reverse=True)  # a norm would copy any other order
        there = transformer.norm(self.weights, "ln1", layer, read.permute(*in_memory, 4))
        normed = there.permute(*(in_memory.index(axis) for axis in range(4)), 4)
        return {
            (head, part): head_projection(self.weights, INPUTS[part], layer, head, normed[:, place])
            for place, (head, part) in enumerate(inputs)
        }

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


def head_projection(
    weights: Weights, hook: str, layer: int, head: int, normed: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows d_head"]:
    """Queries, keys or values that one query head reads, from normalised rows."""
    own = head if hook == "q" else head // weights.architecture.group_size
    weight = {"q": weights.W_Q, "k": weights.W_K, "v": weights.W_V}[hook][layer, own]
    bias = {"q": weights.b_Q, "k": weights.b_K, "v": weights.b_V}[hook][layer, own]
    return torch.addmm(bias, normed.reshape(-1, len(weight)), weight).view(*normed.shape[:-1], -1)
