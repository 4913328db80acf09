"""``logit_diff`` and friends: the numbers read from a final residual stream.

The readers of logits get what enters the unembedding, for each example and cell, and unembed no more than they need.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planning.prompts import NO_TOKEN
from worker.engine import transformer
from worker.engine.model import Weights

LOGIT_ROWS_AT_ONCE = 256
"""Rows whose logits over the whole vocabulary are held together."""
DIVERGENCES = ("kl", "js")
"""Metrics that compare with orig's distribution."""


@dataclass(frozen=True, eq=False)
class LogitMetric:
    """What a metric reads besides the residual stream, for the examples of one batch."""

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
        if kind not in ("logit", "logit_diff") or weights.architecture.logit_cap is not None:
            return cls(kind, answer, minus_answer)
        assert answer is not None
        direction, bias = _mean_column(weights, answer)
        if minus_answer is not None:
            minus_direction, minus_bias = _mean_column(weights, minus_answer)
            direction, bias = direction - minus_direction, bias - minus_bias
        return cls(kind, answer, minus_answer, direction, bias)


def read_logits(
    weights: Weights, metric: LogitMetric, normed: Float[Tensor, "batch cell d_model"]
) -> Float[Tensor, "batch cell"]:
    """One metric, but for ``loss``, which reads many rows."""
    answer, minus_answer, orig = metric.answer, metric.minus_answer, metric.orig_log_probs
    if metric.kind in DIVERGENCES:
        assert orig is not None
        return divergence(weights, normed, orig, kl if metric.kind == "kl" else js)
    assert answer is not None
    match metric.kind:
        case "logit" | "logit_diff":
            return answer_logit(weights, normed, metric)
        case "log_prob":
            return answer_log_prob(weights, normed, answer)
        case "prob":
            return answer_log_prob(weights, normed, answer).exp()
        case "prob_diff":
            assert minus_answer is not None
            return prob_diff(weights, normed, answer, minus_answer)
        case "rank":
            return rank(weights, normed, answer)
        case "accuracy":
            return (rank(weights, normed, answer) == 0).float()
    raise AssertionError(f"no logits are read for {metric.kind!r}")


def answer_logit(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], metric: LogitMetric
) -> Float[Tensor, "batch cell"]:
    """Logit of one answer, or its difference to another's; of a set the mean. Unit: nats."""
    if metric.direction is not None and metric.bias is not None:
        return (normed @ metric.direction[:, :, None])[..., 0].float() + metric.bias[:, None].float()
    assert metric.answer is not None
    value = _mean_capped_logit(weights, normed, metric.answer)
    return value if metric.minus_answer is None else value - _mean_capped_logit(weights, normed, metric.minus_answer)


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


def log_probabilities(weights: Weights, normed: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_vocab"]:
    """Log-probabilities of the next token."""
    return transformer.unembed(weights, normed).float().log_softmax(dim=-1)


def answer_log_prob(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, "batch choice"]
) -> Float[Tensor, "batch cell"]:
    """Log-probability of one answer, of a set the log of the sum. Unit: nats."""
    return _by_rows(
        weights, normed, lambda logits, example: set_log_prob(logits.float().log_softmax(dim=-1), answer[example])
    )


def prob_diff(
    weights: Weights,
    normed: Float[Tensor, "batch cell d_model"],
    answer: Int[Tensor, "batch choice"],
    minus_answer: Int[Tensor, "batch minus_choice"],
) -> Float[Tensor, "batch cell"]:
    """Probability of one answer minus that of another, of sets the sums. Unit: probability."""

    def difference(logits: Tensor, example: Tensor) -> Tensor:
        log_probs = logits.float().log_softmax(dim=-1)
        first, second = (set_log_prob(log_probs, ids[example]).exp() for ids in (answer, minus_answer))
        return first - second

    return _by_rows(weights, normed, difference)


def set_log_prob(log_probs: Float[Tensor, "rows d_vocab"], ids: Int[Tensor, "rows choice"]) -> Float[Tensor, " rows"]:
    """Log of the probability that the next token is one of a set. Unit: nats."""
    own = log_probs.gather(1, ids.clamp(min=0))
    return own.masked_fill(ids == NO_TOKEN, -torch.inf).logsumexp(dim=-1)


def rank(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, "batch choice"]
) -> Float[Tensor, "batch cell"]:
    """How many tokens have a larger logit than the answer, or the best of a set. Unit: places; 0 is the top token."""

    def larger(logits: Tensor, example: Tensor) -> Tensor:
        ids = answer[example]
        own = logits.gather(1, ids.clamp(min=0)).masked_fill(ids == NO_TOKEN, -torch.inf)
        return (logits > own.amax(dim=-1, keepdim=True)).sum(dim=-1).float()

    return _by_rows(weights, normed, larger)


def divergence(
    weights: Weights,
    normed: Float[Tensor, "batch cell d_model"],
    orig_log_probs: Float[Tensor, "batch d_vocab"],
    between: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, "batch cell"]:
    """A divergence of patched and orig's next-token distributions. Unit: nats; 0 means that nothing changed."""
    values = _by_rows(
        weights,
        normed,
        lambda logits, example: between(logits.float().log_softmax(dim=-1), orig_log_probs[example]),
    )
    return values - values.detach().clamp(max=0)  # only rounding is below 0; the gradient stays


def kl(log_probs: Float[Tensor, "rows d_vocab"], orig: Float[Tensor, "rows d_vocab"]) -> Float[Tensor, " rows"]:
    """KL(patched || orig)."""
    return (log_probs.exp() * (log_probs - orig)).sum(dim=-1)


def js(log_probs: Float[Tensor, "rows d_vocab"], orig: Float[Tensor, "rows d_vocab"]) -> Float[Tensor, " rows"]:
    """Jensen-Shannon divergence: the mean of both KLs to the distribution half way between, at most log 2."""
    between = torch.logaddexp(log_probs, orig) - math.log(2)
    return (kl(log_probs, between) + kl(orig, between)) / 2


def _by_rows(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], read: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "batch cell"]:
    """What a function of logits and of their examples' indices reads in every cell, a few rows at a time."""
    rows = normed.flatten(0, 1)
    parts = []
    for start in range(0, max(len(rows), 1), LOGIT_ROWS_AT_ONCE):
        logits = transformer.unembed(weights, rows[start : start + LOGIT_ROWS_AT_ONCE])
        example = torch.arange(start, start + len(logits), device=rows.device) // normed.shape[1]
        parts.append(read(logits, example))
    return torch.cat(parts).view(normed.shape[:2])


def token_log_probs(
    weights: Weights, normed: Float[Tensor, "rows d_model"], answers: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Log-probability of one token per row, never holding many rows of the vocabulary at once."""
    chunks = zip(torch.split(normed, LOGIT_ROWS_AT_ONCE), torch.split(answers, LOGIT_ROWS_AT_ONCE), strict=True)
    parts = [log_probabilities(weights, chunk).gather(1, column[:, None])[:, 0] for chunk, column in chunks]
    return torch.cat(parts)
