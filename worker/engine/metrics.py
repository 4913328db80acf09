"""The metrics of a batch: where each is read, its number, and its values in the orig and new runs.

Here are the numbers of single logits and of attention; those of the whole vocabulary are in ``distributions``.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planning.graph import Site
from planning.prompts import NO_TOKEN, AttentionReading, LogitReading, Reading, attended_head
from worker.engine import model, transformer
from worker.engine.distributions import DIVERGENCES, LossReads, log_probabilities, read_distribution
from worker.engine.model import Weights
from worker.engine.rows import Rows, on_device, rows_of
from worker.engine.runs import Runs

ANSWER_LOGITS = ("logit", "logit_diff")
"""Metrics that read the logits of answers, and no others."""
ByMetric = dict[int, Tensor]
"""By the metric's index in the spec."""


@dataclass(frozen=True, eq=False)
class Reads:
    """The metrics of a job on a batch of examples, and what they are without any patch."""

    readings: list[Reading]
    logits: "LogitReads | None"
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


@dataclass(frozen=True, eq=False)
class LogitMetric:
    """What a metric of logits reads besides the residual stream, for the examples of one batch."""

    kind: str
    answer: Int[Tensor, "batch choice"] | None
    """Token ids of a set; ``NO_TOKEN`` beyond the end of a smaller set."""
    minus_answer: Int[Tensor, "batch minus_choice"] | None
    direction: Float[Tensor, "batch d_model"] | None = None
    """For ``logit`` and ``logit_diff`` without a cap: the column of the unembedding that they read, ..."""
    bias: Float[Tensor, " batch"] | None = None
    """... and its bias."""
    orig_log_probs: Float[Tensor, "batch d_vocab"] | None = None
    """For divergences: orig's log-probabilities where the metric is read."""

    @classmethod
    def of(
        cls,
        weights: Weights,
        kind: str,
        answer: Int[Tensor, "batch choice"] | None,
        minus_answer: Int[Tensor, "batch minus_choice"] | None,
    ) -> "LogitMetric":
        """The metric, with what it reads of the unembedding."""
        if kind not in ANSWER_LOGITS or weights.architecture.logit_cap is not None:
            return cls(kind, answer, minus_answer)
        assert answer is not None
        direction, bias = _mean_column(weights, answer)
        if minus_answer is not None:
            minus_direction, minus_bias = _mean_column(weights, minus_answer)
            direction, bias = direction - minus_direction, bias - minus_bias
        return cls(kind, answer, minus_answer, direction, bias)


@dataclass(frozen=True, eq=False)
class LogitReads:
    """Metrics that are read from a final residual stream."""

    rows: Rows
    """Where some metric reads."""
    metrics: dict[int, LogitMetric]
    """By index in the spec."""
    slots: dict[int, Int[Tensor, " batch"]]
    """Which of the rows each reads; absent for ``loss``, which reads every row that has a next token."""
    loss: LossReads | None = None

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


def read_logits(
    weights: Weights, metric: LogitMetric, normed: Float[Tensor, "batch cell d_model"]
) -> Float[Tensor, "batch cell"]:
    """One metric of the logits at one position: of one answer's, or its difference to another's, or of all.

    Of a set of answers it is the mean logit. Unit: nats; of what ``distributions`` reads as there.
    """
    answer, minus_answer = metric.answer, metric.minus_answer
    if metric.direction is not None and metric.bias is not None:
        return (normed @ metric.direction[:, :, None])[..., 0].float() + metric.bias[:, None].float()
    if metric.kind not in ANSWER_LOGITS:
        return read_distribution(weights, metric.kind, normed, answer, minus_answer, metric.orig_log_probs)
    assert answer is not None
    value = _mean_capped_logit(weights, normed, answer)
    return value if minus_answer is None else value - _mean_capped_logit(weights, normed, minus_answer)


def _mean_column(
    weights: Weights, answer: Int[Tensor, "batch choice"]
) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, " batch"]]:
    """Column and bias of the unembedding, mean over a set."""
    dtype = weights.W_U.dtype
    direction = torch.zeros(len(answer), weights.architecture.d_model, device=answer.device)
    bias = torch.zeros(len(answer), device=answer.device)
    for share, ids in _members(answer):
        direction = direction + share[:, None] * weights.W_U[:, ids].T
        bias = bias + share * weights.b_U[ids]
    return direction.to(dtype), bias.to(dtype)


def _mean_capped_logit(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, "batch choice"]
) -> Float[Tensor, "batch cell"]:
    """Capped logit, mean over a set: the cap bends each token's own."""
    total = torch.zeros(normed.shape[:2], device=normed.device)
    for share, ids in _members(answer):
        logit = (normed @ weights.W_U[:, ids].T[:, :, None])[..., 0].float() + weights.b_U[ids, None].float()
        total = total + share[:, None] * transformer.capped(logit, weights.architecture.logit_cap)
    return total


def _members(answer: Int[Tensor, "batch choice"]) -> Iterator[tuple[Float[Tensor, " batch"], Int[Tensor, " batch"]]]:
    """One token of every example's set at a time, and its share of the mean; 0 where the set has no more."""
    is_member = answer != NO_TOKEN
    shares = is_member / is_member.sum(dim=1, keepdim=True)
    yield from zip(shares.T, answer.clamp(min=0).T, strict=True)


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
        q = model.project(weights, "q", layer, of_layer, normed)
        q = transformer.positioned(weights, "q", layer, q, query.index)
        scores = transformer.query_scores(weights, q, both.keys(layer, of_layer)[half])
        value = attention_metric(reading, transformer.pattern_of_row(weights, layer, query, scores))[:, 0]
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
