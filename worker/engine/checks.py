"""Checks that every job computes in its own run: orig patched with itself, and everything patched into the end."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from planning.graph import EMBEDDING_TIME, Site
from planning.plan import CellGroup
from worker.engine import transformer
from worker.engine.rows import rows_of
from worker.engine.runs import Runs
from worker.engine.senders import input_changes
from worker.engine.sweep import Batch, Values


def largest_difference(first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"]) -> float:
    """Largest absolute difference; two NaNs in one place do not differ."""
    same = (first == second) | (first.isnan() & second.isnan())
    return float(torch.where(same, 0.0, (first - second).abs().double()).max())


def identity_max_abs(batch: Batch, sweep: Callable[[Batch], list[Values]]) -> float:
    """Largest change of any metric when orig is patched with itself; must be exactly 0.

    The job's own path runs, with orig as the source. Every sender's change must come out as exactly 0, since a row
    counts as untouched, and keeps orig's value bit for bit, only if all changes that lead to it are. (Whether a row
    that was recomputed without need has the same bits depends on the shape of the product; such rows are never read.)
    """
    itself = replace(batch, runs=batch.runs.patched_with_itself())
    pairs = zip(sweep(itself), batch.reads.orig_values, strict=True)
    return max(largest_difference(value, own.expand(value.shape)) for value, own in pairs)


def completeness(runs: Runs, last: int, through_mlps: bool) -> tuple[float, float]:
    """How well all writers together, patched into the last residual stream, reproduce the first example's new logits.

    It depends on weights, prompts and algorithm alone, and is kept with the activations that it checks.

    Args:
        last: The example's last position, at which logits are compared.

    Returns:
        The largest absolute difference, and the largest absolute logit, to which float error is relative.
    """
    weights, known = runs.weights, runs.activations.completeness
    if through_mlps in known:
        return known[through_mlps]
    runs = replace(runs.first_example(last + 1), source="new")
    writers = [Site("embed"), Site("pos_embed")]
    for layer in range(weights.architecture.n_layers):
        writers += [Site("attn_out", layer), Site("mlp_out", layer)]
    mask = np.arange(runs.activations.tokens.shape[1])[None] == last
    rows = rows_of(mask, weights.device)
    end = runs.graph.time_of(Site("resid_pre", weights.architecture.n_layers))
    senders = CellGroup([0], [writers], [mask] * len(writers), [EMBEDDING_TIME], runs.graph)
    ((_, changes),) = input_changes(runs, senders, rows, [end], through_mlps)
    patched = rows.take(runs.orig("resid_pre", weights.architecture.n_layers)) + changes.value[:, 0]
    both = torch.cat([patched, rows.take(runs.new("resid_pre", weights.architecture.n_layers))])
    logits = transformer.unembed(weights, transformer.norm(weights, "ln_final", None, both)).float()
    known[through_mlps] = largest_difference(logits[0], logits[1]), float(logits[1].abs().max())
    return known[through_mlps]
