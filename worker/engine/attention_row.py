"""Attention of one query per example in the final run, with its query, its keys or its pattern patched."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worker.engine import model, transformer
from worker.engine.model import Weights
from worker.engine.receivers import Patch, PatchedLayer
from worker.engine.rows import Rows, chosen, row_map
from worker.engine.run_layer import State
from worker.engine.runs import Runs


@dataclass(frozen=True, eq=False)
class PatchedRow:
    """Attention of one query in every cell, and where a change has reached it."""

    pattern: Float[Tensor, "batch any_cell heads pos"]
    touched: Bool[Tensor, "batch cell"]


def patched_row(
    runs: Runs, state: State, layer: int, heads: list[int], query: Rows, patches: Sequence[Patch]
) -> PatchedRow:
    """Attention of the query, with patches of this layer at the heads' queries, keys or patterns.

    Args:
        state: The stream entering ``layer``.
        query: One row per example.
    """
    to = row_map(state.rows, query)
    at_query = state.moved(to, query)
    stream = at_query.stream(runs, layer)
    # the query first, from the stream at its own row
    here = PatchedLayer(runs, layer, [patch.moved(to) for patch in patches], query, at_query.touched, stream, heads)
    normed = transformer.norm(runs.weights, "ln1", layer, stream)
    q = here("q", model.project(runs.weights, "q", layer, heads, normed))
    q = transformer.positioned(runs.weights, "q", layer, q, query.index[:, None])[:, :, 0]
    touched = here.touched_at("q")[:, :, 0]
    scores = transformer.query_scores(runs.weights, q, runs.activations.keys(layer, heads)[: runs.n_examples])
    # then the keys of the rows that can change, in place of orig's
    if state.resid is not None or any(patch.acts_at("query_k") for patch in patches):
        changed, reached = _changed_scores(runs, state, layer, heads, q, scores, patches)
        scores = put_scores(scores, changed, state.rows)
        before_query = state.rows.index <= query.index
        touched = touched | (reached & before_query[:, None]).any(dim=-1)
    pattern = transformer.pattern_of_row(runs.weights, layer, query, scores)
    pattern = here("pattern", pattern[:, :, None])[:, :, 0]
    return PatchedRow(pattern, touched | here.touched[:, :, 0])


def _changed_scores(
    runs: Runs,
    state: State,
    layer: int,
    heads: list[int],
    q: Float[Tensor, "batch q_cell heads d_head"],
    scores: Float[Tensor, "batch q_cell heads pos"],
    patches: Sequence[Patch],
) -> tuple[Float[Tensor, "batch any_cell row heads"], Bool[Tensor, "batch cell row"]]:
    """Scores with the keys of the rows that can change, and where they may differ from orig's.

    Args:
        scores: With orig's keys.
    """
    stream = state.stream(runs, layer)
    keys = PatchedLayer(runs, layer, patches, state.rows, state.touched, stream, heads)

    def read(resid: Tensor, heads_read: list[int] | None = None) -> Tensor:
        return query_scores_of_rows(runs.weights, layer, heads, q, resid, state.rows.index)

    def spread(k: Float[Tensor, "batch row heads d_head"]) -> Float[Tensor, "batch q_cell row heads"]:
        k = transformer.positioned(runs.weights, "k", layer, k, state.rows.index)
        return transformer.query_scores(runs.weights, q, k).transpose(2, 3)

    of_orig = state.rows.take(scores.permute(0, 3, 1, 2)).transpose(1, 2)
    live = of_orig if state.resid is None else read(stream)
    return keys.patched("query_k", live, read, spread), keys.touched_at("query_k")


def query_scores_of_rows(
    weights: Weights,
    layer: int,
    heads: list[int],
    q: Float[Tensor, "batch q_cell heads d_head"],
    resid: Float[Tensor, "batch cell row d_model"],
    pos: Int[Tensor, "batch row"],
) -> Float[Tensor, "batch any_cell row heads"]:
    """Scores of one positioned query per example with the keys of rows that differ from cell to cell.

    Shortcut: where keys are neither normalised nor rotated, the key is read through the query, ``q . (x W_K + b_K) =
    x . (W_K q) + q . b_K``, so that a key costs one dot product of length ``d_model`` per row and head in place of a
    product with ``W_K``.
    """
    normed, q = transformer.norm(weights, "ln1", layer, resid), q / weights.architecture.attention_divisor
    if weights.architecture.has_positioned_keys:
        k = model.project(weights, "query_k", layer, heads, normed)
        k = transformer.positioned(weights, "k", layer, k, pos[:, None])
        of_keys: Tensor = (k.transpose(2, 3) @ q[..., None])[..., 0]
        return of_keys.transpose(2, 3)
    groups = chosen([head // weights.architecture.group_size for head in heads], weights.device)
    through_query = torch.einsum("hmd,bchd->bchm", weights.W_K[layer][groups], q)
    if q.shape[1] == 1:  # one query for all cells: one product per example
        flat: Tensor = normed.flatten(1, 2) @ through_query[:, 0].transpose(1, 2)
        scores = flat.view(*normed.shape[:3], -1)
    else:
        scores = normed @ through_query.transpose(-1, -2)
    return scores + (q * weights.b_K[layer][groups]).sum(dim=-1)[..., None, :]


def put_scores(
    scores: Float[Tensor, "batch q_cell heads pos"], changed: Float[Tensor, "batch cell row heads"], rows: Rows
) -> Float[Tensor, "batch any_cell heads pos"]:
    """Scores with those of some rows in their places."""
    shape = (scores.shape[0], max(scores.shape[1], changed.shape[1]), *scores.shape[2:])
    index = torch.where(rows.valid, rows.index, shape[-1])  # what is not valid goes into a spare column
    index = index[:, None, None].expand(*shape[:3], -1)
    spare = torch.cat([scores, scores[..., :1]], dim=-1).expand(*shape[:3], -1)
    value = changed.transpose(2, 3).expand(*shape[:3], -1)
    return spare.scatter(-1, index, value)[..., :-1]
