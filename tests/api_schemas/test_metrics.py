"""Metrics in words, and how a result names them."""

from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from api_schemas.metrics import Metric, title_of
from api_schemas.results import MetricLabel


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        (
            {"kind": "attention", "query": "end", "key": "IO", "head": {"layer": 10, "head": 7}},
            "attention end → IO, head 10.7",
        ),
        ({"kind": "attention", "query": 3, "key": 1}, "attention 3 → 1, each receiver's head"),
        (
            {
                "kind": "attention_diff",
                "query": "end",
                "key": "IO",
                "minus_key": "S1",
                "head": {"layer": 1, "head": 0},
                "normalize": "noising",
            },
            "attention end → IO minus end → S1, head 1.0, noising",
        ),
        ({"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}, "logit IO minus S"),
        ({"kind": "logit", "answer": "IO", "position": "S2"}, "logit of IO at S2"),
        ({"kind": "log_prob", "answer": "IO", "normalize": "denoising"}, "log prob of IO, denoising"),
        ({"kind": "kl"}, "KL from orig"),
        ({"kind": "js"}, "JS divergence from orig"),
        ({"kind": "prob_diff", "answer": "after", "minus_answer": "not_after"}, "prob after minus not_after"),
        ({"kind": "accuracy", "answer": "after", "position": -1}, "accuracy of after at -1"),
        ({"kind": "loss"}, "loss"),
    ],
)
def test_a_title_has_all_that_tells_a_metric_from_another(metric: dict[str, Any], title: str) -> None:
    """Tables and figures have nothing else to call it by."""
    assert title_of(TypeAdapter(Metric).validate_python(metric)) == title


@pytest.mark.parametrize("metric", get_args(get_args(Metric)[0]), ids=lambda metric: metric.__name__)
def test_a_result_can_say_every_field_of_a_metric(metric: type) -> None:
    """A field that the label lacks would be refused by clients that were generated from the schema."""
    assert metric.model_fields.keys() <= MetricLabel.model_fields.keys()  # type: ignore[attr-defined]
