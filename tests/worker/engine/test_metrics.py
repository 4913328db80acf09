"""Metrics equal torch on the same logits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_weights import D_VOCAB, node, prompts, result_of, tiny_weights
from worker.engine import transformer
from worker.engine.metrics import rank
from worker.engine.runs import Activations

LENGTHS = [5, 3, 4]


def orig_and_new(metric: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """A metric of the two clean runs."""
    patch = {"senders": [node("z", 0)], "receivers": [node("v", 1)]}
    arrays = result_of(tiny_weights(), prompts(LENGTHS), patch, metric).arrays
    return arrays["0/orig"], arrays["0/new"]


def logits_of(run: str, example: int) -> torch.Tensor:
    """All logits of one prompt, alone."""
    weights = tiny_weights()
    tokens = torch.tensor([getattr(prompts(LENGTHS), run)[example]])
    last = Activations(weights, tokens).get("resid_pre", weights.n_layers)
    return transformer.unembed(weights, transformer.final_norm(weights, last))[0]


def by_hand(metric: dict[str, Any], run: str, example: int) -> float:
    dataset = prompts(LENGTHS)
    logits = logits_of(run, example)
    if metric["kind"] == "loss":
        targets = torch.tensor(getattr(dataset, run)[example])[1:]
        return torch.nn.functional.cross_entropy(logits[:-1], targets).item()
    position = dataset.roles[metric.get("position", "end")][example]
    here = logits[position]
    if metric["kind"] == "kl":
        orig = logits_of("orig", example)[position].log_softmax(-1)
        return torch.nn.functional.kl_div(orig, here.log_softmax(-1), log_target=True, reduction="sum").item()
    answer = dataset.answers[metric["answer"]][example]
    if metric["kind"] == "rank":
        return here.argsort(descending=True).tolist().index(answer)
    if metric["kind"] == "logit_diff":
        return (here[answer] - here[dataset.answers[metric["minus_answer"]][example]]).item()
    read = {"logit": here, "prob": here.softmax(-1), "log_prob": here.log_softmax(-1)}[metric["kind"]]
    return read[answer].item()


@pytest.mark.parametrize(
    "metric",
    [
        {"kind": "logit_diff", "answer": "A", "minus_answer": "B"},
        {"kind": "logit", "answer": "B", "position": "middle"},
        {"kind": "prob", "answer": "A"},
        {"kind": "log_prob", "answer": "A", "position": "first"},
        {"kind": "rank", "answer": "A", "position": "middle"},
        {"kind": "kl"},
        {"kind": "loss"},
    ],
    ids=lambda metric: metric["kind"],
)
def test_a_metric_equals_torch_on_the_same_logits(metric: dict[str, Any]) -> None:
    """In a padded batch as alone."""
    for run, values in zip(("orig", "new"), orig_and_new(metric), strict=True):
        expected = [by_hand(metric, run, example) for example in range(len(LENGTHS))]
        np.testing.assert_allclose(values, expected, atol=1e-5, rtol=1e-5)


def test_rank_counts_the_tokens_with_larger_logits() -> None:
    """0 is the top, and an equal logit is not a larger one: here logits are 0, 1, 2, ... with a tie at the top."""
    top = torch.arange(D_VOCAB).float().clamp(max=D_VOCAB - 2)
    weights = replace(tiny_weights(), b_U=top)
    answer = torch.tensor([0, D_VOCAB - 3, D_VOCAB - 2, D_VOCAB - 1])
    ranks = rank(weights, torch.zeros(4, 2, weights.d_model), answer)
    assert ranks.tolist() == [[place, place] for place in (D_VOCAB - 1, 2, 0, 0)]


def test_attention_metrics_read_the_pattern() -> None:
    """``attention`` from query to key; ``attention_diff`` minus that to the other key."""
    dataset, weights = prompts(LENGTHS), tiny_weights()
    head = {"layer": 2, "head": 1}
    attention, _ = orig_and_new({"kind": "attention", "query": "end", "key": "first", "head": head})
    diff, _ = orig_and_new(
        {"kind": "attention_diff", "query": "end", "key": "first", "minus_key": "middle", "head": head}
    )
    for example in range(len(LENGTHS)):
        tokens = torch.tensor([dataset.orig[example]])
        row = Activations(weights, tokens).get("pattern", 2)[0, -1, 1]
        middle = row[dataset.roles["middle"][example]]
        assert attention[example] == pytest.approx(row[0].item(), abs=1e-6)
        assert diff[example] == pytest.approx((row[0] - middle).item(), abs=1e-6)
