"""The worker refuses nothing that the service accepted: random specs are checked, and run if they pass."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from api_schemas.errors import InvalidSpec
from api_schemas.nodes import (
    ACTIVATION_HOOKS,
    HEAD_HOOKS,
    NEURON_HOOKS,
    QUERY_HEAD_HOOKS,
    RECEIVER_HOOKS,
    SENDER_HOOKS,
)
from service.specs.limits import SpecLimits
from service.specs.validation import check_spec
from tests.random_families import ARCHITECTURES, random_weights
from tests.specs_of_demo import METRICS, JobSpec, catalog, check, document, problems

if TYPE_CHECKING:
    from worker.engine.model import Weights

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=3)
ROLES = ("end", "a", "b")


@st.composite
def datasets(draw: st.DrawFn) -> dict[str, Any]:
    """Prompts of unequal lengths, some of one token, some equal in both runs."""
    lengths = draw(LENGTHS)
    tokens = st.integers(0, 22)
    runs = [[draw(st.lists(tokens, min_size=n, max_size=n)) for n in lengths] for _ in range(2)]
    return {
        "kind": "tokens",
        "orig": runs[0],
        "new": runs[draw(st.sampled_from([0, 1, 1, 1]))],
        "roles": {role: [draw(st.integers(0, n - 1)) for n in lengths] for role in ("a", "b")},
        "answers": {answer: [draw(tokens) for _ in lengths] for answer in ("x", "y")},
        "swap": draw(st.booleans()),
    }


def positions(examples: int) -> st.SearchStrategy[Any]:
    """In each form of the contract, some beyond the shorter prompts."""
    one = st.sampled_from(ROLES) | st.integers(0, 4)
    per_example = st.lists(st.lists(st.integers(0, 2), max_size=2), min_size=examples, max_size=examples)
    return st.none() | one | st.lists(one, min_size=1, max_size=2) | per_example


@st.composite
def nodes(draw: st.DrawFn, hooks: tuple[str, ...], examples: int) -> dict[str, Any]:
    hook = draw(st.sampled_from(hooks))
    node: dict[str, Any] = {"hook": hook}
    if hook not in ("embed", "pos_embed"):
        node["layer"] = draw(st.integers(0, 3))
    if hook in HEAD_HOOKS and draw(st.integers(0, 3)):
        name = "query_head" if hook in QUERY_HEAD_HOOKS and draw(st.booleans()) else "head"
        node[name] = draw(st.sampled_from([0, 1, 1, 3]))
    if hook in NEURON_HOOKS and draw(st.booleans()):
        node["neuron"] = draw(st.integers(0, 9))
    if not draw(st.integers(0, 3)):
        node["positions"] = draw(positions(examples))
    return node


@st.composite
def sweeps(draw: st.DrawFn, hooks: tuple[str, ...]) -> dict[str, Any]:
    hook: Any = draw(st.sampled_from([hook for hook in hooks if hook not in ("embed", "pos_embed")]))
    sweep: dict[str, Any] = {"hook": hook, "layers": draw(st.sampled_from(["all", [1], [2, 0], [1, 1]]))}
    if hook in HEAD_HOOKS:
        sweep["heads"] = draw(st.sampled_from(["all", "joint", [0, 3], [1], None]))
    if hook in NEURON_HOOKS:
        sweep["neurons"] = draw(st.sampled_from([None, "joint", [5, 0]]))
    sweep["positions"] = draw(st.sampled_from([None, None, "each", ["end", 1]]))
    if hook in ("q", "k", "v") and draw(st.booleans()):
        sweep["hook"] = draw(st.sampled_from([["q", "v"], ["k", "v"]]))
    return {"sweep": sweep}


def ends(hooks: tuple[str, ...], examples: int) -> st.SearchStrategy[Any]:
    return st.lists(nodes(hooks, examples), min_size=1, max_size=2) | sweeps(hooks)


@st.composite
def patches(draw: st.DrawFn, examples: int) -> dict[str, Any]:
    common = {"positions": draw(positions(examples)), "source": draw(st.sampled_from(["new", "zero", "mean"]))}
    if not draw(st.integers(0, 3)):
        return {"kind": "activation", "nodes": draw(ends(ACTIVATION_HOOKS, examples)), **common}
    return {
        "senders": draw(ends(SENDER_HOOKS, examples)),
        "receivers": draw(ends(RECEIVER_HOOKS, examples)),
        "direct_includes_mlps": draw(st.booleans()),
        "receiver_update": draw(st.sampled_from([None, "add", "overwrite"])),
        **common,
    }


@st.composite
def metrics(draw: st.DrawFn) -> dict[str, Any]:
    place = st.sampled_from(ROLES) | st.integers(0, 2)
    index = st.integers(0, 3)
    choices: dict[str, st.SearchStrategy[Any]] = {
        "normalize": st.sampled_from(["none", "none", "noising", "denoising"]),
        **dict.fromkeys(("query", "key", "minus_key", "position"), place),
        "head": st.none() | st.fixed_dictionaries({"layer": index, "head": index}),
        "answer": st.just("x"),
        "minus_answer": st.just("y"),
    }
    kind = draw(st.sampled_from(list(METRICS)))
    return {"kind": kind} | {name: draw(choices[name]) for name in METRICS[kind].model_fields if name != "kind"}


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    dataset = draw(datasets())
    output = {
        "per_example": draw(st.sampled_from([None, True, False])),
        "reduce": draw(st.sampled_from([None, None, "mean", {"top": 3}])),
        "decimals": draw(st.sampled_from([None, 3])),
    }
    attribution = not draw(st.integers(0, 4))
    return {
        "model": {"name": "golden"},
        "dataset": dataset,
        "patch": draw(patches(len(dataset["orig"]))),
        "method": "attribution" if attribution else "exact",
        "verify": draw(st.sampled_from([None, 1, 50])) if attribution else None,
        "metric": None,
        "metrics": draw(st.lists(metrics(), min_size=1, max_size=2)),
        "output": output,
        "dtype": draw(st.sampled_from(["float32", "float32", "tf32", "bfloat16"])),
    }


@pytest.fixture(scope="module")
def run(golden_weights: "Weights") -> Callable[..., Any]:
    """Run a job on the golden model."""
    from tests.shards import run_job

    return lambda *arguments: run_job(golden_weights, *arguments)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(changes(), st.integers(0, 2))
def test_what_the_service_accepts_the_worker_runs(run: Callable[..., Any], whole: dict[str, Any], cut: int) -> None:
    """Sent to a worker, a spec can only fail for reasons that are not the client's; its axes are as announced."""
    assume(problems(**whole) == {})
    checked = check(**whole)
    cuts = [cut] if 0 < cut < len(checked.dataset) else []
    result = run(checked.spec, checked.dataset, cuts)
    assert len(result.blocks) == len(checked.spec.all_metrics)
    for place, block in enumerate(result.blocks):
        assert (block["axes"], block["shape"]) == (checked.axes, checked.shape)
        assert result.arrays[f"{place}/patched"].shape == tuple(checked.shape)


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_what_the_service_accepts_of_a_family_the_worker_runs(family: str, data: st.DataObject) -> None:
    """Its limits come from the record of the architecture, as the worker's plan does."""
    from tests.shards import run_job

    model = replace(catalog().get("golden"), architecture=ARCHITECTURES[family])
    whole = data.draw(changes())
    try:
        checked = check_spec(JobSpec.model_validate(document(**whole)), model, SpecLimits())
    except (InvalidSpec, ValidationError):
        assume(False)
    result = run_job(random_weights(ARCHITECTURES[family]), checked.spec, checked.dataset, [])
    for place, block in enumerate(result.blocks):
        assert (block["axes"], block["shape"]) == (checked.axes, checked.shape)
        assert result.arrays[f"{place}/patched"].shape == tuple(checked.shape)
