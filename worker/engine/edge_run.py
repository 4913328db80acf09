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

from planning.circuit import CircuitGraph
from worker.engine import attention, transformer
from worker.engine.model import Weights
from worker.engine.rows import Rows
from worker.engine.runs import Runs

Changes = Float[Tensor, "batch cell writer pos d_model"]
"""What writers write, live minus base."""


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
            return attention.per_query_head(self.runs.new(hook, layer), self.weights.architecture.n_heads)
        if layer not in self._projections:
            stream = self.stream("resid_pre", layer)
            self._projections[layer] = transformer.queries_keys_values(self.weights, layer, stream)
        return attention.per_query_head(self._projections[layer]["qkv".index(hook)], self.weights.architecture.n_heads)

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
) -> Float[Tensor, "batch cell pos d_model"]:
    """The last residual stream of a run for each edge set.

    Args:
        rows: Those that will be read of it; others may then be wrong. By default all.
    """
    return EdgeRun(base, sets, rows=rows).to_end()


def moved_by_attention(graph: CircuitGraph, edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which writers some later key or value sees, at any remove: of all others only the rows that are read matter."""
    found = np.zeros(len(graph.nodes), dtype=bool)
    inputs = np.arange(len(graph.readers)) % graph.readers_per_layer
    is_key_or_value = (inputs < graph.readers_per_layer - 1) & (inputs % 3 > 0)
    is_key_or_value[-1] = False
    for writer in range(len(graph.writers) - 1, -1, -1):
        into = np.flatnonzero(edges[:, writer])
        found[writer] = is_key_or_value[into].any() or found[graph.node_of_reader[into]].any()
    return found


def floats_per_cell(graph: CircuitGraph, n_live_writers: int, n_examples: int, n_pos: int) -> int:
    """Memory of one edge set in work, in numbers: its writers' changes, and one layer's inputs."""
    architecture = graph.architecture
    per_row = (n_live_writers + 2 * graph.readers_per_layer) * architecture.d_model + 2 * architecture.d_mlp
    return n_examples * n_pos * per_row


class EdgeRun:
    """One run: what the live writers have written so far."""

    def __init__(
        self,
        base: Base,
        sets: Shaped[Tensor, "cell reader writer"],
        embedded: Float[Tensor, "batch pos d_model"] | None = None,
        is_traced: bool = False,
        rows: Rows | None = None,
    ) -> None:
        """
        Args:
            embedded: What the input writes; orig's token embeddings by default.
            is_traced: Whether every input gets an addend of 0 of its own, for gradients.
        """
        self.base, self.weights = base, base.weights
        self.graph = CircuitGraph(base.weights.architecture)
        self.addends: list[tuple[list[int], Tensor]] = []
        """Readers, and what was added to their inputs."""
        self._is_traced = is_traced
        self._rows = rows
        self._is_moved = moved_by_attention(self.graph, sets.any(dim=0).cpu().numpy())
        self.live = sets.any(dim=0).any(dim=0).nonzero()[:, 0].tolist()
        self._column = {writer: column for column, writer in enumerate(self.live)}
        self._reads = sets.any(dim=2).any(dim=0).tolist()
        self._sets = sets[:, :, self.live].to(self.weights.dtype)
        orig = base.runs.orig("embed", None) if embedded is None else embedded
        shape = (len(orig), len(sets), len(self.live), *orig.shape[1:])
        self.changes = torch.zeros(shape, dtype=self.weights.dtype, device=self.weights.device)
        if 0 in self._column:
            self.changes[:, :, self._column[0]] = (orig - base.written("embed", None))[:, None]

    def to_end(self) -> Float[Tensor, "batch cell pos d_model"]:
        """Run all layers, and read the last residual stream."""
        for layer in range(self.weights.architecture.n_layers):
            self.layer(layer)
        stream = self.base.stream("resid_pre", self.weights.architecture.n_layers)
        return self.read([len(self.graph.readers) - 1], stream)[:, :, 0]

    def read(
        self, readers: list[int], stream: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch cell own_reader pos d_model"]:
        """What some readers of one point of the stream read."""
        before = sum(writer < self.graph.writers_before(readers[0]) for writer in self.live)
        edges = self._sets[:, readers, :before]
        change = (edges @ self.changes[:, :, :before].flatten(3)).view(*self.changes.shape[:2], -1, *stream.shape[1:])
        if self._is_traced:
            addend = torch.zeros_like(change).requires_grad_()
            self.addends.append((readers, addend))
            change = change + addend
        return stream[:, None, None] + change

    def layer(self, layer: int) -> None:
        """Let the layer's live heads and its MLP write."""
        per_layer = self.weights.architecture.n_heads + 1
        first, start = 1 + layer * per_layer, layer * self.graph.readers_per_layer
        heads = [head for head in range(self.weights.architecture.n_heads) if first + head in self._column]
        resid_pre = self.base.stream("resid_pre", layer)
        if heads:
            columns = [self._column[first + head] for head in heads]
            self.changes[:, :, columns] = self._heads(layer, heads, resid_pre)
        if (column := self._column.get(first + per_layer - 1)) is not None:
            is_parallel = self.weights.architecture.is_parallel
            stream = resid_pre if is_parallel else self.base.stream("resid_mid", layer)
            resid = self.read([start + self.graph.readers_per_layer - 1], stream)[:, :, 0]
            source = self.base.written("mlp_out", layer)
            if self._rows is None or self._is_moved[first + per_layer - 1]:
                self.changes[:, :, column] = transformer.mlp(self.weights, layer, resid) - source[:, None]
                return
            written = transformer.mlp(self.weights, layer, self._rows.take(resid.transpose(1, 2)))
            batch = torch.arange(len(resid), device=resid.device)[:, None]
            at_rows = self.changes[:, :, column].transpose(1, 2)
            at_rows[batch, self._rows.index] = written - self._rows.take(source)[:, :, None]

    def _heads(self, layer: int, heads: list[int], resid_pre: Float[Tensor, "batch pos d_model"]) -> Changes:
        """What some heads write, live minus base."""
        q, k, v = (self._projected(hook, layer, heads, resid_pre) for hook in "qkv")
        z = attention.attend(self.weights, layer, q, k, v)
        source = self.base.written("z", layer)
        if self.weights.ln1_post_w is None:
            dz = z - source[:, None, :, heads]
            return torch.einsum("bcphk,hkd->bchpd", dz, self.weights.W_O[layer, heads])
        live = source[:, None].expand(-1, z.shape[1], -1, -1, -1).clone()
        live[:, :, :, heads] = z
        written, base = (heads_writes(self.weights, layer, values) for values in (live, source[:, None]))
        return (written - base)[:, :, :, heads].transpose(2, 3)

    def _projected(
        self, hook: str, layer: int, heads: list[int], resid_pre: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch cell pos heads d_head"]:
        """Queries, keys or values of some heads; the base's where no edge into a head's is live."""
        first = layer * self.graph.readers_per_layer + "qkv".index(hook)
        own = [head for head in heads if self._reads[first + 3 * head]]
        known = self.base.projected(hook, layer)[:, None, :, heads].expand(-1, len(self._sets), -1, -1, -1)
        if not own:
            return known
        read = self.read([first + 3 * head for head in own], resid_pre)
        computed = head_projection(self.weights, hook, layer, own, read)
        if len(own) == len(heads):
            return computed
        found = known.clone()
        found[:, :, :, [heads.index(head) for head in own]] = computed
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
    total = transformer.written(weights, "z", layer, z)
    factor = (total.square().mean(dim=-1, keepdim=True) + weights.architecture.eps).rsqrt() * weights.ln1_post_w[layer]
    return (written + weights.b_O[layer] / weights.architecture.n_heads) * factor[..., None, :]


def head_projection(
    weights: Weights, hook: str, layer: int, heads: list[int], resid: Float[Tensor, "batch cell heads pos d_model"]
) -> Float[Tensor, "batch cell pos heads d_head"]:
    """Queries, keys or values of query heads, each from an input of its own."""
    group = 1 if hook == "q" else weights.architecture.group_size
    own = [head // group for head in heads]
    weight = {"q": weights.W_Q, "k": weights.W_K, "v": weights.W_V}[hook][layer, own]
    bias = {"q": weights.b_Q, "k": weights.b_K, "v": weights.b_V}[hook][layer, own]
    normed = transformer.norm(weights, "ln1", layer, resid)
    rows = normed.permute(2, 0, 1, 3, 4).flatten(1, 3)  # (heads, rows, d_model)
    out = torch.baddbmm(bias[:, None], rows, weight)
    n_examples, n_cells, n_heads, n_pos = resid.shape[:4]
    return out.view(n_heads, n_examples, n_cells, n_pos, -1).permute(1, 2, 3, 0, 4)
