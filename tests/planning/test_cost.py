"""The estimate of work must grow as the time does: cuts and estimated seconds follow it.

How well it does is measured, not tested: ``benchmarks/estimates.py``.
"""

from dataclasses import replace
from typing import Any

import pytest

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from planning.architecture import Architecture, Rotary
from planning.cost import GELU, VISIT, layer_flops, phase_flops
from tests.specs_of_demo import TOKENS, check
from worker.jobs.run import kind_of

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
    assert len(checked.phase_flops) == len(kind_of(checked.spec).phases(checked.spec))
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


LLAMA = Architecture(
    n_layers=3, n_heads=9, n_kv_heads=3, d_model=576, d_head=64, d_mlp=1536, n_ctx=2048, d_vocab=49152,
    family="llama", norm="rms_norm", activation="silu", is_gated=True, rotary=Rotary((0.5,) * 32),
)  # fmt: skip


def products(architecture: Architecture, length: float = 0) -> float:
    """Of one token through one layer, without the memory-bound steps."""
    widths = GELU * architecture.d_mlp + 2 * VISIT * architecture.d_model
    return layer_flops(architecture, length) - widths


def test_a_layer_is_priced_by_the_matrices_that_it_has() -> None:
    """Two operations for each weight: grouped key-value heads have fewer, a gated MLP one matrix more."""
    gpt2 = Architecture(n_layers=2, n_heads=12, d_model=768, d_mlp=3072, n_ctx=1024, d_vocab=50257)
    assert products(gpt2) == 2 * 12 * 768**2
    attention, mlp = 576 * 576 * 2 + 576 * 192 * 2, 3 * 576 * 1536
    assert products(LLAMA) == 2 * (attention + mlp)
    wide = replace(LLAMA, n_heads=4, n_kv_heads=1, d_model=640, d_head=256, d_mlp=2048)
    assert products(wide) == 2 * (640 * 1024 * 2 + 640 * 256 * 2 + 3 * 640 * 2048), "d_head is of its own in Gemma"


def test_a_window_shorter_than_the_prompt_is_cheaper() -> None:
    """Of layers that see few keys, the products of queries and keys are few."""
    long = products(LLAMA, 1000)
    assert long - products(LLAMA) == 2 * 1000 * 576
    assert products(replace(LLAMA, windows=(100, None, None)), 1000) < long
    assert products(replace(LLAMA, windows=(4096,) * 3), 1000) == long


@pytest.mark.parametrize("hook", ["q", "k", "v", "pattern", "pre", "mlp_in", "resid_pre"])
def test_every_receiver_of_grouped_heads_has_a_price(hook: str) -> None:
    """A key-value head changes all query heads of its group, which costs more than one query."""

    def flops(**node: Any) -> float:
        ends = {"senders": [{"hook": "z", "layer": 0, "head": 0}], "receivers": [{"layer": 2, **node}]}
        spec = JobSpec.model_validate({
            "model": {"name": "any"}, "dataset": TOKENS, "patch": ends, "metric": {"kind": "kl"},
        })  # fmt: skip
        dataset = ResolvedDataset(orig=[[1, 2, 3]] * 2, new=[[1, 4, 3]] * 2, roles={"end": [2, 2]}, answers={})
        return sum(phase_flops(spec, LLAMA, dataset))

    assert flops(hook=hook) > flops(hook="q", head=0) or hook in ("pre", "mlp_in")
    if hook in ("k", "v"):
        assert flops(hook="q", head=0) < flops(hook=hook, head=0) < flops(hook=hook)
        assert flops(hook=hook, query_head=0) < flops(hook=hook, head=0)
