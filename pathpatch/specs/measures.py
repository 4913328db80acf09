"""Metrics: the number read from each final patched run. A dict, as specs have it, says the same."""

from __future__ import annotations

from typing import Any, Literal

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
from pathpatch.specs.building import build
from pathpatch.specs.ends import HeadName, Position, head_place

__all__ = [
    "Metric", "accuracy", "attention", "attention_diff", "js", "kl", "log_prob", "logit", "logit_diff", "loss", "prob",
    "prob_diff", "rank",
]  # fmt: skip

Normalize = Literal["none", "noising", "denoising"]


def _head(name: HeadName | None) -> Any:
    return None if name is None else head_place(name)


def attention(
    query: Position, key: Position, *, head: HeadName | None = None, normalize: Normalize = "none"
) -> Attention:
    """Attention probability from ``query`` to ``key``; the head is by default the receiver's."""
    return build(Attention, kind="attention", query=query, key=key, head=_head(head), normalize=normalize)


def attention_diff(
    query: Position, key: Position, minus_key: Position, *, head: HeadName | None = None, normalize: Normalize = "none"
) -> AttentionDiff:
    """Attention from ``query`` to ``key`` minus that to ``minus_key``; the head is by default the receiver's."""
    places = {"query": query, "key": key, "minus_key": minus_key}
    return build(AttentionDiff, kind="attention_diff", **places, head=_head(head), normalize=normalize)


def logit_diff(
    answer: str = "IO", minus_answer: str = "S", position: Position = "end", *, normalize: Normalize = "none"
) -> LogitDiff:
    """Logit of one answer minus logit of another, in nats; positive means that the model prefers ``answer``.

    Of an answer that is a set of tokens, the mean of their logits.
    """
    names = {"answer": answer, "minus_answer": minus_answer}
    return build(LogitDiff, kind="logit_diff", **names, position=position, normalize=normalize)


def logit(answer: str, position: Position = "end", *, normalize: Normalize = "none") -> Logit:
    """Logit of one answer; of a set of tokens the mean."""
    return build(Logit, kind="logit", answer=answer, position=position, normalize=normalize)


def prob(answer: str, position: Position = "end", *, normalize: Normalize = "none") -> Prob:
    """Probability of one answer; of a set of tokens the sum."""
    return build(Prob, kind="prob", answer=answer, position=position, normalize=normalize)


def prob_diff(
    answer: str = "after", minus_answer: str = "not_after", position: Position = "end", *, normalize: Normalize = "none"
) -> ProbDiff:
    """Probability of one answer minus that of another; of sets of tokens the sums, as for `greater_than` prompts."""
    names = {"answer": answer, "minus_answer": minus_answer}
    return build(ProbDiff, kind="prob_diff", **names, position=position, normalize=normalize)


def accuracy(answer: str, position: Position = "end", *, normalize: Normalize = "none") -> Accuracy:
    """1 where the top token is the answer, or one of its set, and 0 elsewhere."""
    return build(Accuracy, kind="accuracy", answer=answer, position=position, normalize=normalize)


def log_prob(answer: str, position: Position = "end", *, normalize: Normalize = "none") -> LogProb:
    """Log-probability of one answer, in nats; of a set of tokens the log of their sum."""
    return build(LogProb, kind="log_prob", answer=answer, position=position, normalize=normalize)


def rank(answer: str, position: Position = "end", *, normalize: Normalize = "none") -> Rank:
    """How many tokens have a larger logit than one answer, or the best of its set; 0 means that it is the top token."""
    return build(Rank, kind="rank", answer=answer, position=position, normalize=normalize)


def kl(position: Position = "end", *, normalize: Normalize = "none") -> Kl:
    """KL divergence of the patched from the orig next-token distribution, in nats; 0: nothing changed."""
    return build(Kl, kind="kl", position=position, normalize=normalize)


def js(position: Position = "end", *, normalize: Normalize = "none") -> Js:
    """Jensen-Shannon divergence of the patched and the orig next-token distribution, in nats; at most log 2."""
    return build(Js, kind="js", position=position, normalize=normalize)


def loss(*, normalize: Normalize = "none") -> Loss:
    """Next-token cross-entropy in nats, mean over an example's predicted positions."""
    return build(Loss, kind="loss", normalize=normalize)
