"""One query's attention probabilities, when its query or the keys it sees have changed.

The key is read through the query: ``q . (LN(x) W_K + b_K) = LN(x) . (W_K q) + q . b_K``, so that a changed key costs
one dot product of length ``d_model`` per row and head, instead of a product with ``W_K``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worker.engine import forward
from worker.engine.patched_state import Replacement, State, live_or_orig, moved_state, set_value
from worker.engine.positions import Mask, Rows, row_map, rows_of, up_to
from worker.engine.runs import Runs
from worker.engine.weights import GPT2Weights


@dataclass(frozen=True, eq=False)
class QueryRow:
    """One query position per example."""

    rows: Rows
    visible: Bool[Tensor, "batch pos"]


def query_row(mask: Mask, device: torch.device) -> QueryRow:
    """The query of a mask that is True once per example."""
    return QueryRow(rows_of(mask, device), torch.from_numpy(up_to(mask).copy()).to(device))


@dataclass(frozen=True, eq=False)
class ChangedScores:
    """Scores of one query with changed keys, and the rows that they belong to."""

    value: Float[Tensor, "batch cell heads row"]
    rows: Rows
    at: Bool[Tensor, "batch row"]
    """Rows whose key may have changed; the others keep orig's score."""


def scores_with(
    q: Float[Tensor, "batch q_cell heads d_head"], k: Float[Tensor, "batch pos heads d_head"]
) -> Float[Tensor, "batch q_cell heads pos"]:
    """Scores of a query with keys that are the same in every cell."""
    scores: Tensor = q.transpose(1, 2) @ k.permute(0, 2, 3, 1)
    return scores.transpose(1, 2) / float(q.shape[-1] ** 0.5)


def changed_scores(
    weights: GPT2Weights,
    layer: int,
    heads: list[int],
    q: Float[Tensor, "batch q_cell heads d_head"],
    normed_keys: Float[Tensor, "batch cell row d_model"],
) -> Float[Tensor, "batch cell heads row"]:
    """Scores of a query with keys that are read from changed, normalised rows."""
    through_query = torch.einsum("hmd,bchd->bchm", weights.W_K[layer, heads], q)
    if q.shape[1] == 1:  # one query for all cells: one product per example
        flat: Tensor = normed_keys.flatten(1, 2) @ through_query[:, 0].transpose(1, 2)
        scores = flat.view(*normed_keys.shape[:3], -1)
    else:
        scores = normed_keys @ through_query.transpose(-1, -2)
    constant = (q * weights.b_K[layer, heads]).sum(dim=-1)[..., None, :]
    return (scores + constant).transpose(2, 3) / float(q.shape[-1] ** 0.5)


def probabilities(
    query: QueryRow,
    scores: Float[Tensor, "batch q_cell heads pos"],
    changed: ChangedScores | None,
) -> Float[Tensor, "batch cell heads pos"]:
    """Attention of the query over positions, with changed scores put in their places."""
    if changed is not None:
        shape = (scores.shape[0], max(scores.shape[1], changed.value.shape[1]), *scores.shape[2:])
        index = torch.where(changed.at, changed.rows.index, shape[-1])  # what is not changed goes into a spare column
        index = index[:, None, None].expand(*shape[:3], -1)
        spare = torch.cat([scores, scores[..., :1]], dim=-1).expand(*shape[:3], -1)
        value = changed.value.expand(*shape[:3], -1)
        scores = spare.scatter(-1, index, value)[..., :-1]
    return scores.masked_fill(~query.visible[:, None, None], -torch.inf).float().softmax(dim=-1)


@dataclass(frozen=True, eq=False)
class PatchedRow:
    """Attention of one query in every cell, and where a change has reached it."""

    probabilities: Float[Tensor, "batch any_cell heads pos"]
    touched: Bool[Tensor, "batch any_cell"]


def clean_row(
    runs: Runs, layer: int, heads: list[int], query: QueryRow, run: str
) -> Float[Tensor, "batch one heads pos"]:
    """Attention of the query in the orig or the new run."""
    half = slice(None, runs.n_examples) if run == "orig" else slice(runs.n_examples, None)
    resid = query.rows.take(runs.activations.get("resid_pre", layer)[half])
    q = forward.project(runs.weights, "q", layer, heads, forward.attention_input(runs.weights, layer, resid))
    return probabilities(query, scores_with(q, runs.activations.keys(layer, heads)[half]), None)


def patched_row(
    runs: Runs, state: State, layer: int, heads: list[int], query: QueryRow, patches: Sequence[Replacement]
) -> PatchedRow:
    """Attention of the query, with patches that apply to each of the heads alike.

    Args:
        state: The stream entering ``layer``.
        patches: Those of this layer that touch these heads' queries, keys or patterns.
    """
    weights = runs.weights
    to = row_map(state.rows, query.rows)
    at_query = [patch.moved(to) for patch in patches]
    q, touched = _query(runs, moved_state(state, to, query.rows), layer, heads, at_query)
    scores = scores_with(q, runs.activations.keys(layer, heads)[: runs.n_examples])
    changed = None
    at_keys = [patch for patch in patches if patch.node.hook == "k" or (patch.node.hook == "pattern" and patch.change)]
    if at_keys or state.resid is not None:
        live = live_or_orig(runs, state, "resid_pre", layer)
        orig = state.rows.take(runs.orig("resid_pre", layer))[:, None]
        inputs, reached = live, state.touched
        for patch in at_keys:
            if patch.change is not None:
                inputs, reached = patch.input(inputs, orig), reached | patch.change.touched
        value = changed_scores(weights, layer, heads, q, forward.attention_input(weights, layer, inputs))
        for patch in at_keys:
            if patch.change is None:
                own = _wide_keys(runs, layer, heads, live)
                k, differs = set_value(runs, patch, ("k", layer), state.rows, own, heads)
                from_source = torch.einsum("bqhd,bcrhd->bchr", q, k) / q.shape[-1] ** 0.5
                value, reached = torch.where(patch.mask[:, None, None], from_source, value), reached | differs
        changed = ChangedScores(value, state.rows, state.rows.valid)
        before_query = state.rows.index <= query.rows.index
        touched = touched | (reached & before_query[:, None]).any(dim=-1)
    pattern = probabilities(query, scores, changed)
    for patch in at_query:
        if patch.node.hook == "pattern" and patch.change is None:
            source = query.rows.take(runs.source_value("pattern", layer))[:, :, heads].float()
            differs = source != query.rows.take(runs.orig("pattern", layer))[:, :, heads]
            pattern = torch.where(patch.mask[:, :, None, None], source, pattern)
            touched = touched | (differs.flatten(1).any(dim=1, keepdim=True) & patch.mask)
    return PatchedRow(pattern, touched)


def _query(
    runs: Runs, state: State, layer: int, heads: list[int], patches: Sequence[Replacement]
) -> tuple[Float[Tensor, "batch q_cell heads d_head"], Bool[Tensor, "batch cell"]]:
    """The heads' query at the one row of ``state``, and where a change has reached it."""
    live = live_or_orig(runs, state, "resid_pre", layer)
    orig = state.rows.take(runs.orig("resid_pre", layer))[:, None]
    touched = state.touched
    for patch in patches:
        if patch.change is not None and patch.node.hook in ("q", "pattern"):
            live, touched = patch.input(live, orig), touched | patch.change.touched
    q = forward.project(runs.weights, "q", layer, heads, forward.attention_input(runs.weights, layer, live))
    for patch in patches:
        if patch.change is None and patch.node.hook == "q":
            q, differs = set_value(runs, patch, ("q", layer), state.rows, q, heads)
            touched = touched | differs
    return q[:, :, 0], touched[:, :, 0]


def _wide_keys(
    runs: Runs, layer: int, heads: list[int], live: Float[Tensor, "batch any_cell row d_model"]
) -> Float[Tensor, "batch any_cell row heads d_head"]:
    normed = forward.attention_input(runs.weights, layer, live)
    return forward.project(runs.weights, "k", layer, heads, normed)
