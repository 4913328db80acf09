"""One layer of a final run: the whole block where its stream has changed, else only what a patch names."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from planning.architecture import Architecture
from planning.graph import Graph, Site, is_in_attention, is_in_mlp
from worker.engine import model, transformer
from worker.engine.changed_rows import Sight, attend_rows, sight, split_pattern
from worker.engine.receivers import Patch, PatchedLayer
from worker.engine.rows import RowMap, Rows, SideBySide, chosen, row_map, rows_of
from worker.engine.runs import Runs

Patches = list[Patch]
"""Of one cell, or of cells that are patched alike."""


@dataclass(frozen=True, eq=False)
class State:
    """The residual stream of every cell at the computed rows; None while it still equals orig."""

    resid: Float[Tensor, "batch cell row d_model"] | None
    touched: Bool[Tensor, "batch cell row"]
    """Rows that a change has reached. What is read of the others counts as orig's, whatever was recomputed."""
    rows: Rows

    @property
    def n_cells(self) -> int:
        """Cells that run together."""
        return self.touched.shape[1]

    def stream(self, runs: Runs, layer: int) -> Float[Tensor, "batch any_cell row d_model"]:
        """The stream where a layer begins; one cell wide while it equals orig."""
        return self.rows.take(runs.orig("resid_pre", layer))[:, None] if self.resid is None else self.resid

    def moved(self, to: RowMap, rows: Rows) -> "State":
        """The state at other rows."""
        if to.same:
            return self
        return State(None if self.resid is None else to.move(self.resid), to.move(self.touched), rows)


def orig_state(runs: Runs, rows: Rows, n_cells: int) -> State:
    """Before anything is patched."""
    touched = torch.zeros(runs.n_examples, n_cells, rows.n_rows, dtype=torch.bool, device=runs.weights.device)
    return State(None, touched, rows)


class Sights:
    """What the rows that go on after a layer's attention see of the rows before it."""

    def __init__(self, queries: Rows, keys: Rows) -> None:
        """
        Args:
            queries: The rows that go on: all, or in the last layer those at which logits are read.
            keys: The rows that enter the layer.
        """
        self.queries, self._keys = queries, keys
        self.to = None if queries is keys else row_map(keys, queries)
        """From the rows that enter to those that go on; None where all do."""
        self._known: dict[tuple[bool, int | None], Sight] = {}

    def of(self, keys_change: bool, window: int | None) -> Sight:
        """Within a layer's window: with changed keys at the rows that enter, or with orig's keys everywhere."""
        if (keys_change, window) not in self._known:
            keys = self._keys if keys_change else rows_of(self._keys.mask & False, self._keys.index.device)
            self._known[keys_change, window] = sight(self.queries, keys, window)
        return self._known[keys_change, window]


def changed_layer(runs: Runs, state: State, layer: int, patches: Patches, sights: Sights) -> State:
    """A layer whose stream has changed: the whole block, without padding but for attention and patches."""
    assert state.resid is not None
    patched = PatchedLayer(runs, layer, patches, state.rows, state.touched, state.resid)
    whole = SideBySide((runs.n_examples, state.n_cells, state.rows.n_rows), None)
    before = whole if patches else state.rows.side_by_side(state.n_cells)
    after = before if sights.to is None else whole

    def narrow(rows: Tensor) -> Tensor:
        return before.unpack(rows) if sights.to is None else sights.to.move(before.unpack(rows))

    is_narrow = sights.to is not None and not any(patch.acts_at("q") for patch in patches)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = q if is_narrow else narrow(q)
        return after.pack(_attend(patched, q, before.unpack(k), before.unpack(v), sights, keys_change=True))

    resid = before.pack(state.resid)
    narrowed = None if sights.to is None else narrow
    resid = transformer.block(runs.weights, layer, resid, attend, patched, narrowed, is_narrow)
    return State(after.unpack(resid), patched.touched, sights.queries)


def _attend(
    patched: PatchedLayer,
    q: Float[Tensor, "batch q_cell end_row heads d_head"],
    k: Float[Tensor, "batch k_cell row any_heads d_head"],
    v: Float[Tensor, "batch v_cell row any_value_heads d_head"],
    sights: Sights,
    keys_change: bool,
) -> Float[Tensor, "batch cell end_row heads d_head"]:
    """The heads' ``z`` at the rows that are needed from here on; and where a change has reached it."""
    runs, layer = patched.runs, patched.layer
    q, k, v = (part.expand(-1, patched.n_cells, -1, -1, -1) for part in (q, k, v))
    touched_q, touched_kv = patched.touched_at("q"), patched.touched_at("k") | patched.touched_at("v")
    if sights.to is not None:
        touched_q = sights.to.move(touched_q)
        patched.narrow(sights.to, sights.queries)
    if not keys_change:  # dummy row, masked for every real query
        k, v, touched_kv = k[:, :, :1], v[:, :, :1], torch.zeros_like(touched_kv[:, :, :1])
    seen = sights.of(keys_change, runs.weights.architecture.window_of[layer])
    weights = runs.weights
    keys = "rot_k" if weights.architecture.has_positioned_keys else "k"
    cached_k, cached_v = (patched.read_by_heads(runs.orig(hook, layer)) for hook in (keys, "v"))
    reached = (touched_kv[:, :, None] & seen.computed[:, None]).any(dim=-1)
    patched.touched = touched_q | (reached & seen.queries.valid[:, None])

    def set_patterns(probabilities: Tensor) -> Tensor:
        pattern = probabilities.permute(0, 2, 3, 1, 4)  # (batch, cell, row, heads, key)
        pattern = patched.patched("pattern", pattern, _reads_nothing, lambda own: split_pattern(seen, own)[:, None])
        return pattern.permute(0, 3, 1, 2, 4)

    is_set = any(patch.acts_at("pattern") for patch in patched.patches)
    return attend_rows(weights, layer, seen, q, k, v, cached_k, cached_v, set_patterns if is_set else None)


def _reads_nothing(stream: Tensor, units: list[int] | None) -> Tensor:
    raise AssertionError("a receiver's pattern is its query and its keys")


def entered_layer(runs: Runs, state: State, layer: int, patches: Patches, sights: Sights) -> State:
    """A layer whose stream equals orig.

    Shortcut: only the heads or neurons that a patch names are computed, and the change of what they write is added to
    orig's stream. It holds because all others read orig.
    """
    hooks, is_parallel = {patch.site.hook for patch in patches}, runs.weights.architecture.is_parallel
    in_attention, in_mlp = set(filter(is_in_attention, hooks)), set(filter(is_in_mlp, hooks))
    mlp_reads_change = not is_parallel and bool(in_attention or hooks & {"attn_out", "resid_mid"})
    heads = named_heads(patches, in_attention, runs.weights.architecture)
    neurons = (
        None if mlp_reads_change or "mlp_out" in hooks else named(patches, in_mlp, runs.weights.architecture.d_mlp)
    )
    orig_pre = state.stream(runs, layer)
    patched = PatchedLayer(runs, layer, patches, state.rows, state.touched, orig_pre, heads, neurons)
    written = _entered_heads(patched, orig_pre, sights) if in_attention else None
    if written is None and sights.to is not None:
        patched.narrow(sights.to, sights.queries)
    if "attn_out" in hooks:
        orig_out = patched.orig("attn_out")
        written = patched("attn_out", orig_out if written is None else orig_out + written) - orig_out
    if is_parallel:
        resid = _changed_end(patched, written, patched.orig("resid_pre"), hooks, neurons)
    else:
        resid_mid = patched.orig("resid_mid") if written is None else patched.orig("resid_mid") + written
        resid_mid = patched("resid_mid", resid_mid)
        if mlp_reads_change and not in_mlp and "mlp_out" not in hooks:
            beside = patched.rows.side_by_side(resid_mid.shape[1])
            resid = resid_mid + beside.unpack(transformer.mlp(runs.weights, layer, beside.pack(resid_mid)))
        elif mlp_reads_change or (in_mlp and neurons is None):
            resid = resid_mid + transformer.mlp(runs.weights, layer, resid_mid, patched)
        else:
            resid = _changed_end(patched, None, resid_mid, hooks, neurons)
    resid = None if resid is None else resid.expand(-1, state.n_cells, -1, -1)
    return State(resid, patched.touched, patched.rows)


def _changed_end(
    patched: PatchedLayer,
    written: Float[Tensor, "batch any_cell row d_model"] | None,
    mlp_input: Float[Tensor, "batch one row d_model"],
    hooks: set[str],
    neurons: list[int] | None,
) -> Float[Tensor, "batch any_cell row d_model"] | None:
    """The stream after a layer whose MLP reads orig: with what heads and neurons changed; None if nothing did."""
    weights, layer = patched.runs.weights, patched.layer
    changes = [] if written is None else [written]
    if "mlp_out" in hooks or (neurons is None and any(map(is_in_mlp, hooks))):
        live = patched.orig("mlp_out")
        if any(map(is_in_mlp, hooks)):
            new = transformer.mlp(weights, layer, mlp_input, patched)
        else:
            new = patched("mlp_out", live)
        changes.append(new - live)
    elif neurons:
        changes.append(_entered_neurons(patched, mlp_input, neurons))
    return sum(changes, patched.orig("resid_pre", layer + 1)) if changes else None


def named(patches: Patches, hooks: set[str], size: int) -> list[int] | None:
    """The heads or neurons that patches of these hooks name; None for all."""
    named = {patch.site.unit for patch in patches if patch.site.hook in hooks}
    units = sorted(unit for unit in named if unit is not None)
    return None if None in named or len(units) == size else units


def named_heads(patches: Patches, hooks: set[str], architecture: Architecture) -> list[int] | None:
    """The query heads that patches of these hooks name, with all that read a named key-value head; None for all."""
    graph = Graph(architecture)
    named = [graph.query_heads_of(patch.site) for patch in patches if patch.site.hook in hooks]
    heads = sorted({head for own in named if own is not None for head in own})
    return None if None in named or len(heads) == architecture.n_heads else heads


def _entered_heads(
    patched: PatchedLayer, orig_pre: Float[Tensor, "batch one row d_model"], sights: Sights
) -> Float[Tensor, "batch any_cell end_row d_model"]:
    """How what the computed heads write differs from orig."""
    weights, layer = patched.runs.weights, patched.layer
    heads, dz = heads_change_within(patched, orig_pre, sights)
    change = dz.flatten(3) @ weights.W_O[layer][chosen(heads, weights.device)].flatten(end_dim=1)
    if not weights.architecture.has_post_norms:
        return change
    total = model.written(weights, "z", layer, patched.orig("z"))
    return transformer.norm(weights, "ln1_post", layer, total + change) - patched.orig("attn_out")


def heads_change_within(
    patched: PatchedLayer, orig_pre: Float[Tensor, "batch one row d_model"], sights: Sights
) -> tuple[list[int], Float[Tensor, "batch any_cell end_row heads d_head"]]:
    """The computed heads, and how their ``z`` differs from orig."""
    weights, layer, heads = patched.runs.weights, patched.layer, patched.units_of(Site("z", patched.layer))
    normed = transformer.norm(weights, "ln1", layer, orig_pre)
    if heads is None:
        heads = list(range(weights.architecture.n_heads))
        q, k, v = model.queries_keys_values(weights, layer, normed)
    else:
        kv_heads = patched.units_of(Site("k", layer))
        assert kv_heads is not None
        q = model.project(weights, "q", layer, heads, normed)
        k, v = (model.project(weights, hook, layer, kv_heads, normed) for hook in ("k", "v"))
    keys_change = any(patch.acts_at(hook) for patch in patched.patches for hook in ("k", "v", "query_k", "query_v"))
    q, k, v = patched("q", q), patched("query_k", patched("k", k)), patched("query_v", patched("v", v))
    q = q if sights.to is None else sights.to.move(q)
    z = patched("z", _attend(patched, q, k, v, sights, keys_change))
    return heads, z - patched.orig("z")[:, :, :, chosen(heads, weights.device)]


def _entered_neurons(
    patched: PatchedLayer, mlp_input: Float[Tensor, "batch one row d_model"], neurons: list[int]
) -> Float[Tensor, "batch any_cell row d_model"]:
    """How what the computed neurons write differs from orig."""
    weights, layer = patched.runs.weights, patched.layer
    post = patched("post", transformer.neurons(weights, layer, mlp_input, patched, neurons))
    live = transformer.neurons(weights, layer, mlp_input, units=neurons)
    change = (post - live) @ weights.W_out[layer][chosen(neurons, weights.device)]
    if not weights.architecture.has_post_norms:
        return change
    total = model.written(weights, "post", layer, transformer.neurons(weights, layer, mlp_input))
    return transformer.norm(weights, "ln2_post", layer, total + change) - patched.orig("mlp_out")
