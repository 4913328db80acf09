"""``logit_diff`` and friends: the numbers read from a final residual stream or from an attention pattern."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import Attention, AttentionDiff, Kl, Logit, LogitDiff, LogProb, Loss, Metric, Prob, Rank
from worker.engine import forward
from worker.engine.positions import Mask, Rows, one_position, positions_of, real_tokens
from worker.engine.weights import GPT2Weights

LOGIT_ROWS_AT_ONCE = 256
"""Rows whose logits over the whole vocabulary are held together."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What a logit metric reads besides the residual stream, for the examples of one batch."""

    rows: Rows
    """The rows at which logits are read."""
    slots: dict[int, Int[Tensor, " batch"]]
    """For each metric (by its place in the spec), which of the rows it reads; absent for ``loss``."""
    tokens: Int[Tensor, "batch pos"]
    """Tokens of the run, whose next token ``loss`` predicts."""
    predicted: Bool[Tensor, "batch row"]
    """Rows that have a next token."""
    answers: dict[str, Int[Tensor, " batch"]]
    orig_log_probs: dict[int, Float[Tensor, "batch d_vocab"]]
    """For ``kl`` metrics, orig's log-probabilities."""
    orig_losses: Float[Tensor, "batch one row"] | None = None
    """For ``loss``, orig's cross-entropy at each row: what a row that no change reaches keeps."""


def read_mask(metrics: list[Metric], dataset: ResolvedDataset) -> Mask:
    """Positions at which some metric reads logits."""
    mask = np.zeros_like(real_tokens(dataset))
    for metric in metrics:
        if isinstance(metric, Loss):
            lengths = real_tokens(dataset).sum(axis=1, keepdims=True)
            mask |= np.arange(mask.shape[1])[None, :] < lengths - 1
        elif not isinstance(metric, Attention | AttentionDiff):
            mask |= one_position(metric.position, dataset)
    return mask


def slot_of(rows: Rows, position: Mask) -> Int[Tensor, " batch"]:
    """Which row of each example is at the one position that the mask holds."""
    place = np.argmax(position, axis=1)
    slot = np.cumsum(rows.mask, axis=1)[np.arange(len(place)), place] - 1
    return torch.from_numpy(slot).to(rows.index.device)


def reference(
    metrics: list[Metric], dataset: ResolvedDataset, rows: Rows, tokens: Int[Tensor, "batch pos"]
) -> Reference:
    """Prepare reading the metrics of one run of these examples."""
    slots = {
        place: slot_of(rows, one_position(metric.position, dataset))
        for place, metric in enumerate(metrics)
        if not isinstance(metric, Attention | AttentionDiff | Loss)
    }
    lengths = real_tokens(dataset).sum(axis=1, keepdims=True)
    predicted = (rows.places < lengths - 1) & rows.real
    device = rows.index.device
    answers = {name: torch.tensor(ids, device=device) for name, ids in dataset.answers.items()}
    return Reference(rows, slots, tokens, torch.from_numpy(predicted).to(device), answers, {})


def logit_metrics(
    weights: GPT2Weights,
    metrics: list[Metric],
    ref: Reference,
    resid: Float[Tensor, "batch cell row d_model"],
    touched: Bool[Tensor, "batch cell row"] | None = None,
) -> dict[int, Float[Tensor, "batch cell"]]:
    """Every logit metric of final residual streams, by its place in the spec.

    Args:
        touched: Rows that a change has reached; ``loss`` takes orig's at the others. By default all.
    """
    normed = forward.final_norm(weights, resid)
    values = {}
    for place, metric in enumerate(metrics):
        if isinstance(metric, Loss):
            losses = row_losses(weights, ref, normed)
            if touched is not None and ref.orig_losses is not None:
                losses = torch.where(touched, losses, ref.orig_losses)
            values[place] = loss(ref, losses)
        elif place in ref.slots:
            at_slot = normed[torch.arange(len(normed), device=normed.device), :, ref.slots[place]]
            values[place] = read_logits(weights, metric, place, ref, at_slot)
    return values


def read_logits(
    weights: GPT2Weights, metric: Metric, place: int, ref: Reference, normed: Float[Tensor, "batch cell d_model"]
) -> Float[Tensor, "batch cell"]:
    """One logit metric at its row; only the answers' columns are unembedded unless it needs the distribution."""
    if isinstance(metric, LogitDiff):
        answer, minus = ref.answers[metric.answer], ref.answers[metric.minus_answer]
        return answer_logit(weights, normed, answer, minus)
    if isinstance(metric, Logit):
        return answer_logit(weights, normed, ref.answers[metric.answer], None)
    if isinstance(metric, Prob | LogProb):
        log_probs = answer_log_prob(weights, normed, ref.answers[metric.answer])
        return log_probs.exp() if isinstance(metric, Prob) else log_probs
    if isinstance(metric, Rank):
        return rank(weights, normed, ref.answers[metric.answer])
    assert isinstance(metric, Kl)
    return kl(weights, normed, ref.orig_log_probs[place])


def answer_logit(
    weights: GPT2Weights,
    normed: Float[Tensor, "batch cell d_model"],
    answer: Int[Tensor, " batch"],
    minus_answer: Int[Tensor, " batch"] | None,
) -> Float[Tensor, "batch cell"]:
    """Logit of one answer, or its difference to another's. Unit: nats."""
    column, bias = weights.W_U[:, answer].T, weights.b_U[answer]
    if minus_answer is not None:
        column, bias = column - weights.W_U[:, minus_answer].T, bias - weights.b_U[minus_answer]
    return (normed @ column[:, :, None])[..., 0].float() + bias[:, None].float()


def log_probabilities(weights: GPT2Weights, normed: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_vocab"]:
    """Log-probabilities of the next token."""
    return forward.unembed(weights, normed).float().log_softmax(dim=-1)


def answer_log_prob(
    weights: GPT2Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, " batch"]
) -> Float[Tensor, "batch cell"]:
    """Log-probability of one answer. Unit: nats."""
    answers = answer.repeat_interleave(normed.shape[1])
    return token_log_probs(weights, normed.flatten(0, 1), answers).view(normed.shape[:2])


def rank(
    weights: GPT2Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, " batch"]
) -> Float[Tensor, "batch cell"]:
    """How many tokens have a larger logit than the answer. Unit: places; 0 means the top token."""
    answers = answer.repeat_interleave(normed.shape[1])
    parts = []
    for start in range(0, len(answers), LOGIT_ROWS_AT_ONCE):
        logits = forward.unembed(weights, normed.flatten(0, 1)[start : start + LOGIT_ROWS_AT_ONCE])
        own = logits.gather(1, answers[start : start + LOGIT_ROWS_AT_ONCE, None])
        parts.append((logits > own).sum(dim=-1))
    return torch.cat(parts).view(normed.shape[:2]).float()


def kl(
    weights: GPT2Weights,
    normed: Float[Tensor, "batch cell d_model"],
    orig_log_probs: Float[Tensor, "batch d_vocab"],
) -> Float[Tensor, "batch cell"]:
    """KL(patched || orig) of the next-token distributions. Unit: nats; 0 means that nothing changed."""
    n_cells = normed.shape[1]
    rows = normed.flatten(0, 1)
    parts = []
    for start in range(0, len(rows), LOGIT_ROWS_AT_ONCE):
        log_probs = log_probabilities(weights, rows[start : start + LOGIT_ROWS_AT_ONCE])
        example = torch.arange(start, start + len(log_probs), device=rows.device) // n_cells
        parts.append((log_probs.exp() * (log_probs - orig_log_probs[example])).sum(dim=-1))
    return torch.cat(parts).view(normed.shape[:2])


def row_losses(
    weights: GPT2Weights, ref: Reference, normed: Float[Tensor, "batch cell row d_model"]
) -> Float[Tensor, "batch cell row"]:
    """Next-token cross-entropy at each row. Unit: nats."""
    following = (ref.rows.index + 1).clamp(max=ref.tokens.shape[1] - 1)
    targets = ref.tokens.gather(1, following)[:, None].expand(normed.shape[:3])
    return -token_log_probs(weights, normed.flatten(0, 2), targets.flatten()).view(targets.shape)


def loss(ref: Reference, losses: Float[Tensor, "batch cell row"]) -> Float[Tensor, "batch cell"]:
    """Mean over an example's predicted positions. Unit: nats."""
    predicted = ref.predicted[:, None]
    return (losses * predicted).sum(dim=-1) / predicted.sum(dim=-1)


def token_log_probs(
    weights: GPT2Weights, normed: Float[Tensor, "rows d_model"], answers: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Log-probability of one token per row, never holding many rows of the vocabulary at once."""
    chunks = zip(torch.split(normed, LOGIT_ROWS_AT_ONCE), torch.split(answers, LOGIT_ROWS_AT_ONCE), strict=True)
    parts = [log_probabilities(weights, chunk).gather(1, column[:, None])[:, 0] for chunk, column in chunks]
    return torch.cat(parts)


def attention_metric(
    metric: Attention | AttentionDiff,
    dataset: ResolvedDataset,
    pattern: Float[Tensor, "batch cell heads pos"],
) -> Float[Tensor, "batch cell heads"]:
    """Attention of the metric's query to ``key``, minus that to ``minus_key`` where there is one."""
    value = _at_key(pattern, positions_of(metric.key, dataset))
    if isinstance(metric, AttentionDiff):
        value = value - _at_key(pattern, positions_of(metric.minus_key, dataset))
    return value


def _at_key(pattern: Float[Tensor, "batch cell heads pos"], key: np.ndarray) -> Float[Tensor, "batch cell heads"]:
    index = torch.from_numpy(key).to(pattern.device)[:, None, None, None].expand(*pattern.shape[:3], 1)
    return pattern.gather(-1, index)[..., 0]
