"""Metrics equal torch on the same logits."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.datasets import ResolvedDataset, token_sets
from planning.prompts import NO_TOKEN
from tests.reference_metrics import jensen_shannon
from tests.tiny_weights import D_VOCAB, LOGIT_DIFF, node, prompts, result_of, tiny_weights
from worker.engine import transformer
from worker.engine.distributions import divergence, js, kl, rank
from worker.engine.metrics import LogitMetric, read_logits
from worker.engine.runs import Activations

LENGTHS = [5, 3, 4]


def orig_and_new(metric: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """A metric of the two clean runs."""
    patch = {"senders": [node("z", 0)], "receivers": [node("v", 1)]}
    arrays = result_of(tiny_weights(), dataset_of(), patch, metric).arrays
    return arrays["0/orig"], arrays["0/new"]


def logits_of(run: str, example: int) -> torch.Tensor:
    """All logits of one prompt, alone."""
    weights = tiny_weights()
    tokens = torch.tensor([getattr(prompts(LENGTHS), run)[example]])
    last = Activations(weights, tokens).get("resid_pre", weights.architecture.n_layers)
    return transformer.unembed(weights, transformer.norm(weights, "ln_final", None, last))[0]


def dataset_of() -> ResolvedDataset:
    """With ``A`` and ``B`` as single tokens, and sets ``few`` and ``many`` of different sizes."""
    plain = prompts(LENGTHS)
    sets = {"few": [[3], [4, 5], [6, 0, 1]], "many": [[7, 8, 9, 10], [7, 11, 12], [13]]}
    return plain.model_copy(update={"answers": {**plain.answers, **sets}})


def by_hand(metric: dict[str, Any], run: str, example: int) -> float:
    dataset = dataset_of()
    logits = logits_of(run, example)
    if metric["kind"] == "loss":
        targets = torch.tensor(getattr(dataset, run)[example])[1:]
        return torch.nn.functional.cross_entropy(logits[:-1], targets).item()
    position = dataset.roles[metric.get("position", "end")][example]
    here = logits[position]
    if metric["kind"] == "kl":
        orig = logits_of("orig", example)[position].log_softmax(-1)
        return torch.nn.functional.kl_div(orig, here.log_softmax(-1), log_target=True, reduction="sum").item()
    if metric["kind"] == "js":
        return jensen_shannon(here[None], logits_of("orig", example)[None, position]).item()
    sets = {name: token_sets(answer)[example] for name, answer in dataset.answers.items()}
    answer, minus_answer = sets[metric["answer"]], sets[metric.get("minus_answer", "A")]
    order = here.argsort(descending=True).tolist()
    prob = here.softmax(-1)
    by_kind: dict[str, Callable[[], float]] = {
        "rank": lambda: min(map(order.index, answer)),
        "accuracy": lambda: order[0] in answer,
        "logit": lambda: here[answer].mean().item(),
        "logit_diff": lambda: (here[answer].mean() - here[minus_answer].mean()).item(),
        "prob": lambda: prob[answer].sum().item(),
        "prob_diff": lambda: (prob[answer].sum() - prob[minus_answer].sum()).item(),
        "log_prob": lambda: prob[answer].sum().log().item(),
    }
    return by_kind[metric["kind"]]()


@pytest.mark.parametrize(
    "metric",
    [
        {"kind": "logit_diff", "answer": "A", "minus_answer": "B"},
        {"kind": "logit", "answer": "B", "position": "middle"},
        {"kind": "prob", "answer": "A"},
        {"kind": "log_prob", "answer": "A", "position": "first"},
        {"kind": "rank", "answer": "A", "position": "middle"},
        {"kind": "kl"},
        {"kind": "js"},
        {"kind": "loss"},
        {"kind": "accuracy", "answer": "A", "position": "first"},
        {"kind": "prob_diff", "answer": "A", "minus_answer": "B"},
        {"kind": "logit", "answer": "few"},
        {"kind": "logit_diff", "answer": "many", "minus_answer": "few"},
        {"kind": "logit_diff", "answer": "many", "minus_answer": "A"},
        {"kind": "prob", "answer": "many"},
        {"kind": "prob_diff", "answer": "many", "minus_answer": "few", "position": "middle"},
        {"kind": "log_prob", "answer": "few", "position": "middle"},
        {"kind": "rank", "answer": "many"},
        {"kind": "accuracy", "answer": "many", "position": "middle"},
    ],
    ids=lambda metric: "-".join(filter(None, (metric["kind"], metric.get("answer")))),
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
    answer = torch.tensor([0, D_VOCAB - 3, D_VOCAB - 2, D_VOCAB - 1])[:, None]
    ranks = rank(weights, torch.zeros(4, 2, weights.architecture.d_model), answer)
    assert ranks.tolist() == [[place, place] for place in (D_VOCAB - 1, 2, 0, 0)]


def test_the_numbers_of_a_set_are_worked_out_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/8, 1/8: of {0, 2} the sum is 5/8, the mean logit -2 log 2, and the best is the top."""
    logits = torch.full((D_VOCAB,), -100.0)
    logits[:4] = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
    weights = replace(tiny_weights(), W_U=torch.zeros_like(tiny_weights().W_U), b_U=logits)
    here, (one, other) = (
        torch.zeros(1, 1, weights.architecture.d_model),
        (torch.tensor([[0, 2]]), torch.tensor([[1, NO_TOKEN]])),
    )

    def value(kind: str, answer: torch.Tensor, minus_answer: torch.Tensor | None = None) -> float:
        return read_logits(weights, LogitMetric.of(weights, kind, answer, minus_answer), here).item()

    assert value("prob", one) == pytest.approx(5 / 8)
    assert value("log_prob", one) == pytest.approx(math.log(5 / 8))
    assert value("logit", one) == pytest.approx(-2 * math.log(2))
    assert value("logit_diff", one, other) == pytest.approx(0, abs=1e-6)
    assert value("prob_diff", one, other) == pytest.approx(3 / 8)
    assert (value("rank", one), value("rank", other)) == (0, 1)
    assert (value("accuracy", one), value("accuracy", other)) == (1, 0)


def test_each_token_of_a_set_is_capped_by_itself() -> None:
    """Gemma 2 bends every logit: the mean of bent logits is not the bent mean."""
    plain = tiny_weights()
    weights = replace(plain, architecture=replace(plain.architecture, logit_cap=0.5))
    normed = torch.randn(2, 3, weights.architecture.d_model, generator=torch.Generator().manual_seed(0))
    few, many = torch.tensor([[3, NO_TOKEN], [4, 5]]), torch.tensor([[7, 8, 9], [7, 11, NO_TOKEN]])
    logits = transformer.unembed(weights, normed)
    assert logits.abs().max() <= 0.5
    found = read_logits(weights, LogitMetric.of(weights, "logit_diff", many, few), normed)
    for example, (own, other) in enumerate([([7, 8, 9], [3]), ([7, 11], [4, 5])]):
        expected = logits[example][:, own].mean(-1) - logits[example][:, other].mean(-1)
        assert torch.allclose(found[example], expected, atol=1e-6)


def test_divergences_are_worked_out_by_hand() -> None:
    """Of (1, 0) from (1/2, 1/2) KL is log 2; JS of (1, 0) and (0, 1) is log 2, its largest value, and 0 of equals."""
    sure, even = torch.tensor([[0.0, -200.0]]), torch.tensor([[0.5, 0.5]]).log()
    assert kl(sure, even).item() == pytest.approx(math.log(2))
    assert js(sure, sure.flip(1)).item() == pytest.approx(math.log(2))
    assert js(sure, even).item() == pytest.approx((math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2)
    assert js(even, even).item() == 0


def test_rounding_makes_no_negative_divergence() -> None:
    """Orig's probabilities, too large by a rounding error: 0 and not below, and the gradient is there all the same."""
    weights = tiny_weights()
    normed = torch.randn(2, 3, weights.architecture.d_model, generator=torch.Generator().manual_seed(0))
    normed = normed[:, :1].requires_grad_()
    orig = transformer.unembed(weights, normed)[:, 0].log_softmax(-1).detach() + 1e-5
    found = divergence(weights, normed, orig, kl)
    assert found.tolist() == [[0.0], [0.0]]
    found.sum().backward()
    assert normed.grad is not None and normed.grad.abs().max() > 0


def test_a_set_of_one_is_its_token() -> None:
    """To the last bit, so that nobody's numbers change by writing it so."""
    plain = prompts(LENGTHS)
    ones = plain.model_copy(update={"answers": {name: [[one] for one in ids] for name, ids in plain.answers.items()}})
    patch = {"senders": [node("z", 0)], "receivers": [node("v", 1)]}
    kinds = [*({"kind": kind, "answer": "A"} for kind in ("logit", "prob", "log_prob", "rank")), LOGIT_DIFF]
    first, second = (result_of(tiny_weights(), dataset, patch, kinds).arrays for dataset in (plain, ones))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)


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
