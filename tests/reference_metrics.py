"""The oracle's metrics: one number per example from a run, by the functions of torch and TransformerLens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div
from transformer_lens.utilities.lm_utils import lm_cross_entropy_loss

from api_schemas.metrics import (
    Accuracy,
    Attention,
    AttentionDiff,
    Js,
    Kl,
    Logit,
    LogitDiff,
    LogProb,
    Loss,
    Metric,
    Prob,
    ProbDiff,
    Rank,
)
from tests.reference_runs import Run


def metric_values(
    metric: Metric,
    patched: Run,
    orig: Run,
    roles: Mapping[str, Sequence[int]],
    answers: Mapping[str, Sequence[Any]],
    head: tuple[int, int] | None = None,
) -> Tensor:
    """One number per example, from a run (and the orig run, which ``kl`` compares with): [batch].

    Args:
        answers: Of each example a token id, or a set of them.
        head: Layer and head that an attention metric without its own ``head`` reads.
    """
    batch = torch.arange(len(patched.tokens))

    def place(position: int | str) -> Tensor:
        return torch.tensor(roles[position]) if isinstance(position, str) else torch.full_like(batch, position)

    if isinstance(metric, Attention | AttentionDiff):
        assert metric.head or head, "an attention metric needs a head"
        layer, number = (metric.head.layer, metric.head.head) if metric.head else head or (0, 0)
        row = patched.patterns[layer][batch, number, place(metric.query)]
        attention = row[batch, place(metric.key)]
        return attention if isinstance(metric, Attention) else attention - row[batch, place(metric.minus_key)]
    if isinstance(metric, Loss):
        per_token: Tensor = lm_cross_entropy_loss(patched.logits, patched.tokens, per_token=True)
        return per_token.mean(dim=-1)
    logits = patched.logits[batch, place(metric.position)]  # [batch d_vocab]
    if isinstance(metric, Kl):
        orig_logits = orig.logits[batch, place(metric.position)]
        return kl_div(orig_logits.log_softmax(-1), logits.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    if isinstance(metric, Js):
        return jensen_shannon(logits, orig.logits[batch, place(metric.position)])
    value = torch.stack([of_set(metric, *pair) for pair in zip(logits, answers[metric.answer], strict=True)])
    if isinstance(metric, LogitDiff | ProbDiff):
        pairs = zip(logits, answers[metric.minus_answer], strict=True)
        value = value - torch.stack([of_set(metric, *pair) for pair in pairs])
    return value


def jensen_shannon(logits: Tensor, orig_logits: Tensor) -> Tensor:
    """Of two rows of distributions: [batch]."""
    first, second = (row.double().softmax(-1) for row in (logits, orig_logits))
    between = (first + second) / 2
    return sum((0.5 * (one * (one / between).log()).sum(-1) for one in (first, second)), torch.zeros(())).float()


def of_set(metric: Metric, logits: Tensor, answer: int | Sequence[int]) -> Tensor:
    """One example's number, from its logits: [d_vocab]."""
    members = [answer] if isinstance(answer, int) else list(answer)
    if isinstance(metric, Logit | LogitDiff):
        return logits[members].mean()
    if isinstance(metric, Prob | ProbDiff | LogProb):
        total = logits.softmax(-1)[members].sum()
        return total.log() if isinstance(metric, LogProb) else total
    order = logits.argsort(descending=True).tolist()
    if isinstance(metric, Rank):
        return torch.tensor(float(min(order.index(token) for token in members)))
    assert isinstance(metric, Accuracy)
    return torch.tensor(float(order[0] in members))
