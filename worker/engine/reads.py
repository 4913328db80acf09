"""What the metrics of a batch read: where they look, and their values in the orig and new runs."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planning.graph import Site
from planning.prompts import AttentionReading, LogitReading, Reading, attended_head
from worker.engine import attention, transformer
from worker.engine.metrics import (
    DIVERGENCES,
    LogitMetric,
    log_probabilities,
    read_logits,
    token_log_probs,
)
from worker.engine.model import Weights
from worker.engine.rows import Rows, on_device, rows_of
from worker.engine.runs import Runs

ByMetric = dict[int, Tensor]
"""By the metric's index in the spec."""


@dataclass(frozen=True, eq=False)
class LogitReads:
    """Metrics that are read from a final residual stream."""

    rows: Rows
    """Where some metric reads."""
    metrics: dict[int, LogitMetric]
    """By index in the spec."""
    slots: dict[int, Int[Tensor, " batch"]]
    """Which of the rows each reads; absent for ``loss``, which reads every row that has a next token."""
    loss: "LossReads | None" = None

    def values(
        self,
        weights: Weights,
        resid: Float[Tensor, "batch cell row d_model"],
        touched: Bool[Tensor, "batch cell row"] | None = None,
    ) -> ByMetric:
        """Every metric of final residual streams (batch, cell).

        Args:
            touched: Rows that a change has reached; ``loss`` takes orig's at the others. By default all.
        """
        normed = transformer.norm(weights, "ln_final", None, resid)
        batch = torch.arange(len(normed), device=normed.device)
        values = {}
        for index, metric in self.metrics.items():
            if index in self.slots:
                values[index] = read_logits(weights, metric, normed[batch, :, self.slots[index]])
            else:
                assert self.loss is not None
                values[index] = self.loss.mean(weights, normed, touched)
        return values

    def touched(self, index: int, touched: Bool[Tensor, "batch cell row"]) -> Bool[Tensor, "batch cell"]:
        """Where a metric may differ from orig, from the rows that a change has reached."""
        if index not in self.slots:
            assert self.loss is not None
            return (touched & self.loss.predicted[:, None]).any(dim=-1)
        return touched[torch.arange(len(touched), device=touched.device), :, self.slots[index]]


@dataclass(frozen=True, eq=False)
class LossReads:
    """What ``loss`` reads at every row."""

    targets: Int[Tensor, "batch row"]
    """The token after each row."""
    predicted: Bool[Tensor, "batch row"]
    """Rows that have a next token."""
    orig: Float[Tensor, "batch one row"] | None = None
    """Orig's cross-entropy at each row: what a row that no change reaches keeps."""

    def of_rows(
        self, weights: Weights, normed: Float[Tensor, "batch cell row d_model"]
    ) -> Float[Tensor, "batch cell row"]:
        """Next-token cross-entropy at each row. Unit: nats."""
        targets = self.targets[:, None].expand(normed.shape[:3])
        return -token_log_probs(weights, normed.flatten(0, 2), targets.flatten()).view(targets.shape)

    def mean(
        self,
        weights: Weights,
        normed: Float[Tensor, "batch cell row d_model"],
        touched: Bool[Tensor, "batch cell row"] | None,
    ) -> Float[Tensor, "batch cell"]:
        """Mean over an example's predicted positions; at rows that no change reaches, of orig's. Unit: nats."""
        losses, predicted = self.of_rows(weights, normed), self.predicted[:, None]
        if touched is not None and self.orig is not None:
            losses = torch.where(touched, losses, self.orig)
        return (losses * predicted).sum(dim=-1) / predicted.sum(dim=-1)


@dataclass(frozen=True, eq=False)
class Reads:
    """The metrics of a job on a batch of examples, and what they are without any patch."""

    readings: list[Reading]
    logits: LogitReads | None
    """None if every metric is an attention."""
    queries: list[tuple[Rows, dict[int, AttentionReading]]]
    """The attention metrics' queries, one row per example, and the metrics that share each, by index in the spec."""
    orig_values: list[Float[Tensor, "batch one receiver_cell"]]
    """Per metric; as wide as the receiver cells."""
    new_values: list[Float[Tensor, "batch one receiver_cell"]]

    def only(self, index: int) -> "Reads":
        """One metric alone."""
        logits = self.logits
        if logits is not None and index in logits.metrics:
            slots = {0: logits.slots[index]} if index in logits.slots else {}
            logits = replace(logits, metrics={0: logits.metrics[index]}, slots=slots)
        else:
            logits = None
        queries = [(query, {0: own[index]}) for query, own in self.queries if index in own]
        return Reads([self.readings[index]], logits, queries, [self.orig_values[index]], [self.new_values[index]])


def prepare_reads(runs: Runs, readings: list[Reading], cells: Sequence[Sequence[Site]]) -> Reads:
    """Plan the reading, and read the two runs themselves.

    Args:
        cells: Receiver cells, whose own heads some attention metrics read.
    """
    values: dict[str, ByMetric] = {"orig": {}, "new": {}}
    logits = None
    if any(isinstance(reading, LogitReading) for reading in readings):
        logits = _logit_reads(runs, readings)
        last, of_new = runs.activations.get("resid_pre", runs.weights.architecture.n_layers), logits
        if logits.loss is not None:  # each run's loss is that of its own tokens
            of_new = replace(logits, loss=replace(logits.loss, targets=_next_tokens(runs, logits.rows, "new")))
        orig, new = (logits.rows.take(half)[:, None] for half in (last[: runs.n_examples], last[runs.n_examples :]))
        values = {"orig": logits.values(runs.weights, orig), "new": of_new.values(runs.weights, new)}
    by_mask: dict[bytes, dict[int, AttentionReading]] = defaultdict(dict)
    for index, reading in enumerate(readings):
        if isinstance(reading, AttentionReading):
            by_mask[reading.at.tobytes()][index] = reading
    queries = [(rows_of(next(iter(own.values())).at, runs.device), own) for own in by_mask.values()]
    for query, own in queries:
        for index, reading in own.items():
            for run, found in values.items():
                found[index] = _attention_values(runs, reading, query, cells, run)
    both = (
        [found[index].view(runs.n_examples, 1, -1).expand(-1, 1, len(cells)) for index in range(len(readings))]
        for found in (values["orig"], values["new"])
    )
    return Reads(readings, logits, queries, *both)


def _logit_reads(runs: Runs, readings: list[Reading]) -> LogitReads:
    """Where logits are read, and orig's distributions where a metric compares with them."""
    logits = {index: reading for index, reading in enumerate(readings) if isinstance(reading, LogitReading)}
    weights, device = runs.weights, runs.device
    rows = rows_of(np.logical_or.reduce([reading.at for reading in logits.values()]), device)
    orig = rows.take(runs.orig("resid_pre", weights.architecture.n_layers))
    batch = torch.arange(len(orig), device=device)
    slots, metrics = {}, {}
    for index, reading in logits.items():
        tokens = (None if ids is None else on_device(ids, device) for ids in (reading.answer, reading.minus_answer))
        metrics[index] = LogitMetric.of(weights, reading.kind, *tokens)
        if reading.kind != "loss":
            at = np.argmax(reading.at, axis=1)
            slot = np.cumsum(rows.mask, axis=1)[np.arange(len(at)), at] - 1
            slots[index] = on_device(slot, device)
        if reading.kind in DIVERGENCES:
            normed = transformer.norm(weights, "ln_final", None, orig[batch, slots[index]])
            metrics[index] = replace(metrics[index], orig_log_probs=log_probabilities(weights, normed))
    loss, losses = None, [reading.at for reading in logits.values() if reading.kind == "loss"]
    if losses:
        loss = LossReads(_next_tokens(runs, rows, "orig"), rows.at_rows(losses[0]))
        normed = transformer.norm(weights, "ln_final", None, orig[:, None])
        loss = replace(loss, orig=loss.of_rows(weights, normed))
    return LogitReads(rows, metrics, slots, loss)


def _next_tokens(runs: Runs, rows: Rows, run: str) -> Int[Tensor, "batch row"]:
    """The token after each row."""
    tokens = runs.activations.tokens
    own = tokens[: runs.n_examples] if run == "orig" else tokens[runs.n_examples :]
    return own.gather(1, (rows.index + 1).clamp(max=own.shape[1] - 1))


def _attention_values(
    runs: Runs, reading: AttentionReading, query: Rows, cells: Sequence[Sequence[Site]], run: str
) -> Float[Tensor, "batch one cell"]:
    """An attention metric of an unpatched run, in every receiver cell or once for all."""
    heads = [attended_head(reading, cell) for cell in (cells if reading.head is None else cells[:1])]
    weights, both = runs.weights, runs.activations
    half = slice(None, runs.n_examples) if run == "orig" else slice(runs.n_examples, None)
    found: dict[tuple[int, int], Tensor] = {}
    for layer in sorted({layer for layer, _ in heads}):
        of_layer = sorted({head for at, head in heads if at == layer})
        normed = transformer.norm(weights, "ln1", layer, query.take(both.get("resid_pre", layer)[half]))
        q = transformer.project(weights, "q", layer, of_layer, normed)
        q = attention.positioned(weights, "q", layer, q, query.index)
        scores = attention.query_scores(weights, q, both.keys(layer, of_layer)[half])
        value = attention_metric(reading, attention.pattern_of_row(weights, layer, query, scores))[:, 0]
        found |= {(layer, head): value[:, column] for column, head in enumerate(of_layer)}
    return torch.stack([found[head] for head in heads], dim=1)[:, None]


def attention_metric(
    reading: AttentionReading, pattern: Float[Tensor, "batch cell heads pos"]
) -> Float[Tensor, "batch cell heads"]:
    """Attention of one query to a key, minus that to another key where there is one. Unit: probability."""
    keys = [reading.key] if reading.minus_key is None else [reading.key, reading.minus_key]
    index = on_device(np.stack(keys, axis=1), pattern.device)[:, None, None]
    attended = pattern.gather(-1, index.expand(*pattern.shape[:3], -1))
    return attended[..., 0] if reading.minus_key is None else attended[..., 0] - attended[..., 1]
