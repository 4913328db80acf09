"""``logit_diff`` and friends: the numbers read from a final residual stream or from an attention pattern.

The readers of logits get what enters the unembedding, for each example and cell, and unembed no more than they need.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from planning.readings import AttentionReading
from worker.engine import transformer
from worker.engine.model import Weights

LOGIT_ROWS_AT_ONCE = 256
"""Rows whose logits over the whole vocabulary are held together."""


@dataclass(frozen=True, eq=False)
class LogitMetric:
    """What a metric reads besides the residual stream, for the examples of one batch."""

    kind: str
    answer: Int[Tensor, " batch"] | None
    """Token ids."""
    minus_answer: Int[Tensor, " batch"] | None
    orig_log_probs: Float[Tensor, "batch d_vocab"] | None = None
    """For ``kl``: orig's log-probabilities where the metric is read."""


def read_logits(
    weights: Weights, metric: LogitMetric, normed: Float[Tensor, "batch cell d_model"]
) -> Float[Tensor, "batch cell"]:
    """One metric, but for ``loss``, which reads many rows."""
    answer, minus_answer, orig = metric.answer, metric.minus_answer, metric.orig_log_probs
    if metric.kind == "kl":
        assert orig is not None
        return kl(weights, normed, orig)
    assert answer is not None
    match metric.kind:
        case "logit" | "logit_diff":
            return answer_logit(weights, normed, answer, minus_answer)
        case "log_prob":
            return answer_log_prob(weights, normed, answer)
        case "prob":
            return answer_log_prob(weights, normed, answer).exp()
        case "rank":
            return rank(weights, normed, answer)
    raise AssertionError(f"no logits are read for {metric.kind!r}")


def answer_logit(
    weights: Weights,
    normed: Float[Tensor, "batch cell d_model"],
    answer: Int[Tensor, " batch"],
    minus_answer: Int[Tensor, " batch"] | None,
) -> Float[Tensor, "batch cell"]:
    """Logit of one answer, or its difference to another's. Unit: nats."""
    if minus_answer is not None and weights.architecture.logit_cap is not None:
        return answer_logit(weights, normed, answer, None) - answer_logit(weights, normed, minus_answer, None)
    column, bias = weights.W_U[:, answer].T, weights.b_U[answer]
    if minus_answer is not None:
        column, bias = column - weights.W_U[:, minus_answer].T, bias - weights.b_U[minus_answer]
    logit = (normed @ column[:, :, None])[..., 0].float() + bias[:, None].float()
    return transformer.capped(logit, weights.architecture.logit_cap)


def log_probabilities(weights: Weights, normed: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_vocab"]:
    """Log-probabilities of the next token."""
    return transformer.unembed(weights, normed).float().log_softmax(dim=-1)


def answer_log_prob(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, " batch"]
) -> Float[Tensor, "batch cell"]:
    """Log-probability of one answer. Unit: nats."""
    answers = answer.repeat_interleave(normed.shape[1])
    return token_log_probs(weights, normed.flatten(0, 1), answers).view(normed.shape[:2])


def rank(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, " batch"]
) -> Float[Tensor, "batch cell"]:
    """How many tokens have a larger logit than the answer. Unit: places; 0 means the top token."""
    answers = answer.repeat_interleave(normed.shape[1])
    parts = []
    for start in range(0, len(answers), LOGIT_ROWS_AT_ONCE):
        logits = transformer.unembed(weights, normed.flatten(0, 1)[start : start + LOGIT_ROWS_AT_ONCE])
        own = logits.gather(1, answers[start : start + LOGIT_ROWS_AT_ONCE, None])
        parts.append((logits > own).sum(dim=-1))
    return torch.cat(parts).view(normed.shape[:2]).float()


def kl(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], orig_log_probs: Float[Tensor, "batch d_vocab"]
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


def token_log_probs(
    weights: Weights, normed: Float[Tensor, "rows d_model"], answers: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Log-probability of one token per row, never holding many rows of the vocabulary at once."""
    chunks = zip(torch.split(normed, LOGIT_ROWS_AT_ONCE), torch.split(answers, LOGIT_ROWS_AT_ONCE), strict=True)
    parts = [log_probabilities(weights, chunk).gather(1, column[:, None])[:, 0] for chunk, column in chunks]
    return torch.cat(parts)


def attention_metric(
    reading: AttentionReading, pattern: Float[Tensor, "batch cell heads pos"]
) -> Float[Tensor, "batch cell heads"]:
    """Attention of one query to a key, minus that to another key where there is one. Unit: probability."""
    keys = [reading.key] if reading.minus_key is None else [reading.key, reading.minus_key]
    index = torch.from_numpy(np.stack(keys, axis=1)).to(pattern.device)[:, None, None]
    attended = pattern.gather(-1, index.expand(*pattern.shape[:3], -1))
    return attended[..., 0] if reading.minus_key is None else attended[..., 0] - attended[..., 1]
