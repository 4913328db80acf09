"""What the metrics read from a batch of examples, and their values in the orig and new runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import Attention, AttentionDiff, Kl, Loss, Metric
from worker.engine import forward
from worker.engine.attention_row import clean_row, query_row
from worker.engine.metrics import (
    Reference,
    attention_metric,
    log_probabilities,
    logit_metrics,
    read_mask,
    reference,
    row_losses,
)
from worker.engine.plan import Cell, attended_head, depends_on_cell
from worker.engine.positions import Mask, Rows, one_position, rows_of
from worker.engine.runs import Runs


@dataclass(frozen=True, eq=False)
class Reads:
    """The metrics of a job on a batch of examples: where they look, and what they are without any patch."""

    metrics: list[Metric]
    dataset: ResolvedDataset
    logit_rows: Rows | None
    """Rows at which some metric reads logits; None if none does."""
    reference: Reference | None
    orig_values: list[Float[Tensor, "batch one receiver_cell"]]
    """Per metric; as wide as the receiver cells."""
    new_values: list[Float[Tensor, "batch one receiver_cell"]]

    def by_query(self) -> list[tuple[Mask, list[int]]]:
        """The attention metrics' query positions, and the metrics that share each."""
        queries: dict[bytes, tuple[Mask, list[int]]] = {}
        for place, metric in enumerate(self.metrics):
            if isinstance(metric, Attention | AttentionDiff):
                mask = one_position(metric.query, self.dataset)
                queries.setdefault(mask.tobytes(), (mask, []))[1].append(place)
        return list(queries.values())

    def only(self, place: int) -> "Reads":
        """One metric alone."""
        ref = self.reference
        if ref is not None:
            slots = {0: ref.slots[place]} if place in ref.slots else {}
            log_probs = {0: ref.orig_log_probs[place]} if place in ref.orig_log_probs else {}
            ref = replace(ref, slots=slots, orig_log_probs=log_probs)
        logits = not isinstance(self.metrics[place], Attention | AttentionDiff)
        rows = self.logit_rows if logits else None
        orig, new = [self.orig_values[place]], [self.new_values[place]]
        return Reads([self.metrics[place]], self.dataset, rows, ref if logits else None, orig, new)


def prepare_reads(runs: Runs, metrics: list[Metric], dataset: ResolvedDataset, cells: Sequence[Cell]) -> Reads:
    """Plan the reading, and read the two runs themselves.

    Args:
        cells: Receiver cells, whose own heads some attention metrics read.
    """
    device, n_layers = runs.weights.device, runs.weights.n_layers
    mask = read_mask(metrics, dataset)
    rows = rows_of(mask, device) if mask.any() else None
    tokens = runs.activations.tokens
    values: dict[str, dict[int, Tensor]] = {"orig": {}, "new": {}}
    ref = None
    if rows is not None:
        ref = reference(metrics, dataset, rows, tokens[: runs.n_examples])
        orig, new = rows.take(runs.orig("resid_pre", n_layers)), rows.take(runs.new("resid_pre", n_layers))
        batch = torch.arange(len(orig), device=device)
        for place, metric in enumerate(metrics):
            if isinstance(metric, Kl):
                normed = forward.final_norm(runs.weights, orig[batch, ref.slots[place]])
                ref.orig_log_probs[place] = log_probabilities(runs.weights, normed)
        if any(isinstance(metric, Loss) for metric in metrics):
            losses = row_losses(runs.weights, ref, forward.final_norm(runs.weights, orig[:, None]))
            ref = replace(ref, orig_losses=losses)
        values["orig"] = logit_metrics(runs.weights, metrics, ref, orig[:, None])
        new_ref = replace(ref, tokens=tokens[runs.n_examples :])
        values["new"] = logit_metrics(runs.weights, metrics, new_ref, new[:, None])
    for place, metric in enumerate(metrics):
        if isinstance(metric, Attention | AttentionDiff):
            for run, found in values.items():
                found[place] = _attention_values(runs, metric, dataset, cells, run)
    wide = {
        run: [found[place].view(len(dataset), 1, -1).expand(-1, 1, len(cells)) for place in range(len(metrics))]
        for run, found in values.items()
    }
    return Reads(metrics, dataset, rows, ref, wide["orig"], wide["new"])


def _attention_values(
    runs: Runs, metric: Attention | AttentionDiff, dataset: ResolvedDataset, cells: Sequence[Cell], run: str
) -> Float[Tensor, "batch one cell"]:
    """An attention metric of an unpatched run, in every receiver cell or once for all."""
    heads = [attended_head(metric, cell) for cell in (cells if depends_on_cell(metric) else cells[:1])]
    query = query_row(one_position(metric.query, dataset), runs.weights.device)
    by_layer: dict[int, Tensor] = {}
    for layer in sorted({layer for layer, _ in heads}):
        of_layer = sorted({head for at, head in heads if at == layer})
        row = clean_row(runs, layer, of_layer, query, run)
        value = attention_metric(metric, dataset, row)[:, 0]  # (batch, heads)
        columns = np.zeros(runs.weights.n_heads, dtype=np.int64)
        columns[of_layer] = np.arange(len(of_layer))
        by_layer[layer] = value[:, columns]
    return torch.stack([by_layer[layer][:, head] for layer, head in heads], dim=1)[:, None]
