"""The oracle's metrics: one number per example from a run, by the functions of torch and TransformerLens."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import kl_div
from transformer_lens.utilities.lm_utils import lm_cross_entropy_loss

from api_schemas.metrics import Attention, AttentionDiff, Kl, LogitDiff, LogProb, Loss, Metric, Prob
from tests.reference_runs import Run


def metric_values(
    metric: Metric,
    patched: Run,
    orig: Run,
    roles: Mapping[str, Sequence[int]],
    answers: Mapping[str, Sequence[int]],
    head: tuple[int, int] | None = None,
) -> Tensor:
    """One number per example, from a run (and the orig run, which ``kl`` compares with): [batch].

    Args:
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
    if isinstance(metric, LogProb):
        logits = logits.log_softmax(-1)
    elif isinstance(metric, Prob):
        logits = logits.softmax(-1)
    read_answer = logits[batch, torch.tensor(answers[metric.answer])]
    if isinstance(metric, LogitDiff):
        return read_answer - logits[batch, torch.tensor(answers[metric.minus_answer])]
    return read_answer
