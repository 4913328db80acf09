"""The estimate of work must grow as the time does: cuts and estimated seconds follow it.

How well it does is measured, not tested: ``benchmarks/estimates.py``.
"""

from typing import Any

import pytest

from tests.specs_of_demo import check
from worker.jobs.run import phases

HEADS = {"sweep": {"hook": "z"}}
END = [{"hook": "resid_post", "layer": 3}]
LOGITS = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}


def path(senders: Any, receivers: Any) -> dict[str, Any]:
    return {"senders": senders, "receivers": receivers}


@pytest.mark.parametrize("source", ["new", "mean"])
@pytest.mark.parametrize("method", [{}, {"method": "attribution"}, {"method": "attribution", "verify": 3}])
def test_work_is_estimated_by_the_phases_that_the_worker_has(source: str, method: dict[str, Any]) -> None:
    """The time left is that of the phases to come: verifying takes a small part of the estimates before it."""
    checked = check(patch={**path(HEADS, END), "source": source}, metric=LOGITS, **method)
    assert len(checked.phase_flops) == len(phases(checked.spec))
    assert min(checked.phase_flops) > 0


def test_work_grows_with_what_is_asked() -> None:
    """Another phase, more logits, fewer positions, cells to verify."""
    base = check(dataset={"kind": "ioi", "examples": 20}, patch=path(HEADS, END), metric=LOGITS)

    def ratio(**changes: Any) -> float:
        fields: dict[str, Any] = {"patch": path(HEADS, END), "metric": LOGITS} | changes
        return check(dataset={"kind": "ioi", "examples": 20}, **fields).estimated_flops / base.estimated_flops

    assert ratio(patch={**path(HEADS, END), "source": "mean"}) > 1.5, "the means are a phase of their own"
    assert ratio(metric=None, metrics=[LOGITS, {"kind": "loss"}]) > 2, "every position's logits"
    assert ratio(patch={**path(HEADS, END), "positions": "end"}) <= 1
    estimate = {"method": "attribution", "patch": path(HEADS, {"sweep": {"hook": "q"}})}
    assert ratio(**estimate, verify=100) > ratio(**estimate)


def test_receivers_that_no_metric_sees_cost_nothing() -> None:
    """A head's pattern does not depend on its own value, nor on what comes after it; the worker computes neither."""
    attention = {"kind": "attention", "query": "end", "key": "IO"}

    def flops(receivers: Any, **head: Any) -> float:
        return check(patch=path(HEADS, receivers), metric=attention | head).estimated_flops

    assert flops({"sweep": {"hook": "v"}}) == flops([{"hook": "v", "layer": 3, "head": 0}])
    assert flops({"sweep": {"hook": "q"}}) > flops([{"hook": "q", "layer": 3, "head": 0}])
    early = {"head": {"layer": 1, "head": 0}}
    assert flops({"sweep": {"hook": "q"}}, **early) == flops({"sweep": {"hook": "q", "layers": [0, 1]}}, **early)
