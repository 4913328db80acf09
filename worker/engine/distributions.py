"""Metrics of the next-token distribution: probabilities, ranks, divergences from orig, and loss.

They get what enters the unembedding, for each example and cell, and unembed the whole vocabulary, a few rows at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planning.prompts import NO_TOKEN
from worker.engine import transformer
from worker.engine.model import Weights

LOGIT_ROWS_AT_ONCE = 256
"""Rows whose logits over the whole vocabulary are held together."""
DIVERGENCES = ("kl", "js")
"""Metrics that compare with orig's distribution."""


def read_distribution(
    weights: Weights,
    kind: str,
    normed: Float[Tensor, "batch cell d_model"],
    answer: Int[Tensor, "batch choice"] | None,
    minus_answer: Int[Tensor, "batch minus_choice"] | None,
    orig_log_probs: Float[Tensor, "batch d_vocab"] | None,
) -> Float[Tensor, "batch cell"]:
    """One metric of the distribution at one position, but for ``loss``, which reads many.

    Args:
        orig_log_probs: Of divergences: orig's distribution.
    """
    if kind in DIVERGENCES:
        assert orig_log_probs is not None
        return divergence(weights, normed, orig_log_probs, kl if kind == "kl" else js)
    assert answer is not None
    match kind:
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
    raise AssertionError(f"no logits are read for {kind!r}")


def answer_log_prob(
    weights: Weights, normed: Float[Tensor, "batch cell d_model"], answer: Int[Tensor, "batch choice"]
) -> Float[Tensor, "batch cell"]:
    """Log-probability of one answer, of a set the log of the sum. Unit: nats."""
    return _by_rows(
        weights, normed, lambda logits, example: set_log_prob(logits.float().log_softmax(dim=-1), answer[example])
    )


def set_log_prob(log_probs: Float[Tensor, "rows d_vocab"], ids: Int[Tensor, "rows choice"]) -> Float[Tensor, " rows"]:
    """Log of the probability that the next token is one of a set. Unit: nats."""
    own = log_probs.gather(1, ids.clamp(min=0))
    return own.masked_fill(ids == NO_TOKEN, -torch.inf).logsumexp(dim=-1)


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


def token_log_probs(
    weights: Weights, normed: Float[Tensor, "rows d_model"], answers: Int[Tensor, " rows"]
) -> Float[Tensor, " rows"]:
    """Log-probability of one token per row, never holding many rows of the vocabulary at once."""
    chunks = zip(torch.split(normed, LOGIT_ROWS_AT_ONCE), torch.split(answers, LOGIT_ROWS_AT_ONCE), strict=True)
    parts = [log_probabilities(weights, chunk).gather(1, column[:, None])[:, 0] for chunk, column in chunks]
    return torch.cat(parts)


def log_probabilities(weights: Weights, normed: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_vocab"]:
    """Log-probabilities of the next token."""
    return transformer.unembed(weights, normed).float().log_softmax(dim=-1)


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
