"""Specs against models of other families, whose limits come from the record of their architecture."""

from dataclasses import replace
from typing import Any

import pytest

from api_schemas.errors import InvalidSpec
from api_schemas.spec import JobSpec
from planning.architecture import Architecture, Rotary
from service.jobs.reruns import as_asked
from service.models.catalog import CatalogModel
from service.specs.implied import normalised
from service.specs.limits import SpecLimits
from service.specs.validation import CheckedSpec, check_spec
from tests.specs_of_demo import SENDERS, TEMPLATES, TOKENS, catalog, document

DEMO = catalog().get("demo")
LLAMA = Architecture(
    n_layers=4, n_heads=9, n_kv_heads=3, d_model=72, d_head=8, d_mlp=96, n_ctx=64, d_vocab=DEMO.architecture.d_vocab,
    family="llama", norm="rms_norm", activation="silu", is_gated=True, rotary=Rotary((0.5,) * 4),
    has_value_biases=False,
)  # fmt: skip
PYTHIA = Architecture(
    n_layers=4, n_heads=4, d_model=32, d_mlp=64, n_ctx=64, d_vocab=DEMO.architecture.d_vocab, family="gpt_neox",
    is_parallel=True, rotary=Rotary((0.5,)),
)  # fmt: skip
GEMMA = replace(LLAMA, family="gemma2", has_post_norms=True, logit_cap=30.0, attention_cap=50.0)
KL = {"kind": "kl"}
END = [{"hook": "resid_post", "layer": 3}]
FLAGS = (
    "fold_ln", "center_writing_weights", "center_unembed", "refactor_factored_attn_matrices", "fold_value_biases",
)  # fmt: skip


def model_of(architecture: Architecture, *, adds_bos: bool = False) -> CatalogModel:
    """The demo model's tokenizer before another decoder."""
    return replace(DEMO, architecture=architecture, adds_bos=adds_bos)


def check_on(architecture: Architecture, *, adds_bos: bool = False, **changes: Any) -> CheckedSpec:
    """What the service makes of a spec on such a model."""
    spec = JobSpec.model_validate(document(**changes))
    return check_spec(spec, model_of(architecture, adds_bos=adds_bos), SpecLimits())


def problems_on(architecture: Architecture, **changes: Any) -> dict[str, str]:
    """Pointer -> message of everything wrong with it."""
    try:
        check_on(architecture, **changes)
    except InvalidSpec as exc:
        return {error.pointer: error.message for error in exc.errors}
    return {}


def into(*receivers: dict[str, Any]) -> dict[str, Any]:
    return {"senders": SENDERS, "receivers": list(receivers)}


@pytest.mark.parametrize(
    ("receiver", "found"),
    [
        (
            {"hook": "k", "layer": 3, "head": 8},
            {
                "/patch/receivers/0/head": "head 8 of k does not exist: this model has key-value heads 0 to 2; "
                '"query_head": 8 is what query head 8 reads'
            },
        ),
        (
            {"hook": "v", "layer": 3, "head": 9},
            {"/patch/receivers/0/head": "head 9 of v does not exist: this model has key-value heads 0 to 2"},
        ),
        (
            {"hook": "q", "layer": 3, "head": 9},
            {"/patch/receivers/0/head": "head 9 does not exist: this model has heads 0 to 8"},
        ),
        (
            {"hook": "k", "layer": 3, "query_head": 9},
            {"/patch/receivers/0/query_head": "query_head 9 does not exist: this model has query heads 0 to 8"},
        ),
        ({"hook": "k", "layer": 3, "head": 2}, {}),
        ({"hook": "k", "layer": 3, "query_head": 8}, {}),
        ({"hook": "mlp_in", "layer": 3, "neuron": 95}, {}),
        ({"hook": "q", "layer": 3, "head": 8}, {}),
    ],
)
def test_heads_are_counted_per_hook(receiver: dict[str, Any], found: dict[str, str]) -> None:
    """`k` and `v` have as many heads as keys and values have; nine query heads share three of them."""
    assert problems_on(LLAMA, patch=into(receiver), metric=KL) == found


def test_hooks_of_different_head_counts_are_swept_apart() -> None:
    """One axis of heads cannot mean query heads in one row and key-value heads in the next."""

    def found(**sweep: Any) -> dict[str, str]:
        patch = {"senders": SENDERS, "receivers": {"sweep": sweep}}
        return problems_on(LLAMA, patch=patch, metric=KL)

    told = {
        "/patch/receivers/sweep/hook": "q has 9 heads, k has 3 key-value heads: sweep them apart, or with heads 'joint'"
    }
    assert found(hook=["q", "k"]) == found(hook=["q", "k"], heads=[0, 1]) == told
    assert found(hook=["q", "k"], heads="joint") == found(hook=["k", "v"]) == found(hook=["q", "pattern"]) == {}
    listed = {"/patch/receivers/sweep/heads/1": "head 3 of k does not exist: this model has key-value heads 0 to 2"}
    assert found(hook="k", heads=[0, 3]) == listed
    assert check_on(
        LLAMA, patch={"senders": SENDERS, "receivers": {"sweep": {"hook": "k"}}}, metric=KL
    ).shape == [4, 3]  # fmt: skip


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        (into({"hook": "resid_mid", "layer": 2}), "/patch/receivers/0/hook"),
        ({"senders": [{"hook": "resid_mid", "layer": 0}], "receivers": END}, "/patch/senders/0/hook"),
        ({"senders": SENDERS, "receivers": {"sweep": {"hook": "resid_mid"}}}, "/patch/receivers/sweep/hook"),
        (
            {"senders": {"sweep": {"hook": ["resid_pre", "resid_mid"]}}, "receivers": END},
            "/patch/senders/sweep/hook/1",
        ),
        ({"kind": "activation", "nodes": [{"hook": "resid_mid", "layer": 2}]}, "/patch/nodes/0/hook"),
    ],
)
def test_a_parallel_block_has_no_stream_between_its_parts(patch: dict[str, Any], pointer: str) -> None:
    """Pythia's attention and MLP read the same stream."""
    assert problems_on(PYTHIA, patch=patch, metric=KL) == {
        pointer: 'hook "resid_mid" does not exist here: this model\'s blocks are parallel: attention and MLP of a '
        "layer read the same resid_pre, and there is no stream between them"
    }
    assert problems_on(LLAMA, patch=patch, metric=KL) == {}


def test_rotary_models_have_no_position_embeddings() -> None:
    """Nothing is added to the stream that could be patched."""
    patch = {"senders": [{"hook": "pos_embed"}], "receivers": END, "source": "zero"}
    assert problems_on(LLAMA, patch=patch, metric=KL) == {
        "/patch/senders/0/hook": 'hook "pos_embed" does not exist here: this model\'s positions are rotary: queries '
        "and keys are rotated, and no position embedding is added"
    }


ATTENTION = {"kind": "attention", "query": "end", "key": "IO"}


@pytest.mark.parametrize(
    ("receivers", "message"),
    [
        (
            [{"hook": "k", "layer": 2, "head": 1}],
            "key-value head 1 is read by query heads 3 to 5: name the head whose attention is read, or give the "
            'receiver as "query_head" in place of "head"',
        ),
        (
            {"sweep": {"hook": "k"}},
            "each key-value head of k is read by 3 query heads: name the head whose attention is read",
        ),
        ([{"hook": "q", "layer": 2, "head": 1}], None),
        ({"sweep": {"hook": "q"}}, None),
        ([{"hook": "k", "layer": 2, "query_head": 4}], None),
    ],
)
def test_the_attention_of_a_key_value_head_needs_a_query_head(receivers: Any, message: str | None) -> None:
    """Its keys are read by several query heads, each with a pattern of its own."""
    patch = {"senders": SENDERS, "receivers": receivers}
    wrong = {} if message is None else {"/metric/head": message}
    assert problems_on(LLAMA, patch=patch, metric=ATTENTION) == wrong
    assert problems_on(LLAMA, patch=patch, metric=ATTENTION | {"head": {"layer": 2, "head": 5}}) == {}
    far = problems_on(LLAMA, patch=patch, metric=ATTENTION | {"head": {"layer": 2, "head": 9}})
    assert far == {"/metric/head/head": "head 9 does not exist: this model has heads 0 to 8"}


def test_the_attention_read_is_that_of_the_receivers_query_head() -> None:
    """As a query receiver's is."""
    patch = into({"hook": "k", "layer": 2, "query_head": 4})
    (metric,) = check_on(LLAMA, patch=patch, metric=ATTENTION).spec.resolved_metrics
    assert metric.model_dump()["head"] == {"layer": 2, "head": 4}


@pytest.mark.parametrize(
    ("architecture", "inapplicable"),
    [
        (DEMO.architecture, {}),
        (
            LLAMA,
            {
                "center_writing_weights": "this model's RMSNorm reads the mean of the residual stream",
                "refactor_factored_attn_matrices": "this model rotates queries and keys",
                "fold_value_biases": "this model's values have no biases",
            },
        ),
        (PYTHIA, {"refactor_factored_attn_matrices": "this model rotates queries and keys"}),
        (
            GEMMA,
            {
                "center_writing_weights": "this model's RMSNorm reads the mean of the residual stream",
                "center_unembed": "this model caps its logits at 30",
                "refactor_factored_attn_matrices": "this model rotates queries and keys",
                "fold_value_biases": "this model's values have no biases",
            },
        ),
    ],
)
def test_flags_that_change_the_function_are_off_unless_asked_for(
    architecture: Architecture, inapplicable: dict[str, str]
) -> None:
    """Then they are refused with the reason; the normalised spec shows what was applied."""
    applied = check_on(architecture).spec.model.model_dump(exclude={"name"})
    assert applied == {flag: flag not in inapplicable for flag in FLAGS}
    for flag in FLAGS:
        asked = {"model": {"name": "demo", flag: True}}
        if flag not in inapplicable:
            assert check_on(architecture, **asked).spec == check_on(architecture).spec
            continue
        (pointer, message), *others = problems_on(architecture, **asked).items()
        assert not others and pointer == f"/model/{flag}"
        assert message.startswith(f"{flag} cannot apply: {inapplicable[flag]}")
        assert check_on(architecture, model={"name": "demo", flag: False}).spec == check_on(architecture).spec


def test_what_a_spec_left_to_its_model_follows_another_model() -> None:
    """A rerun with another model takes its flags and its beginning-of-text token; what was asked for stays."""
    gpt2, llama = model_of(DEMO.architecture), model_of(LLAMA, adds_bos=True)
    for asked in ({}, {"model": {"name": "demo", "fold_ln": False}}, {"dataset": {**TEMPLATES, "prepend_bos": False}}):
        spec = JobSpec.model_validate(document(**asked, patch=into({"hook": "q", "layer": 2, "head": 3})))
        for one, other in ((gpt2, llama), (llama, gpt2), (llama, llama)):
            again = JobSpec.model_validate(as_asked(normalised(spec, one), one))
            if "dataset" in asked and one is gpt2:
                continue  # what it says is what GPT-2 does anyway
            assert normalised(again, other) == normalised(spec, other)


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("dataset", [{"kind": "ioi", "examples": 8}, TEMPLATES])
def test_prompts_begin_as_the_models_own_tokenizer_begins_them(dataset: dict[str, Any], adds_bos: bool) -> None:
    """Llama and Gemma were trained with a beginning-of-text token, GPT-2 and Qwen without."""
    checked = check_on(LLAMA, adds_bos=adds_bos, dataset=dataset)
    assert checked.spec.dataset.model_dump()["prepend_bos"] is adds_bos
    assert (checked.dataset.orig[0][0] == DEMO.bos_id) is adds_bos
    for explicit in (False, True):
        own = check_on(LLAMA, adds_bos=adds_bos, dataset={**dataset, "prepend_bos": explicit})
        assert (own.dataset.orig[0][0] == DEMO.bos_id) is explicit
        assert (own.dataset == checked.dataset) is (explicit is adds_bos)


def test_the_limits_of_prompts_come_from_the_record() -> None:
    """Its context and its vocabulary."""
    short = replace(LLAMA, n_ctx=3, d_vocab=9)
    found = problems_on(short, dataset=TOKENS, patch=into({"hook": "q", "layer": 2, "head": 3}))
    assert found["/dataset/orig/0"] == "orig prompt 0 has 4 tokens: this model's context takes 1 to 3"
    assert found["/dataset/new/0/1"] == "token 9 does not exist: this model's tokens are 0 to 8"


def test_a_key_value_head_that_does_not_exist_is_told_once() -> None:
    """Query heads 24 to 26 do not exist either: to name them would mislead."""
    problems = problems_on(LLAMA, patch=into({"hook": "k", "layer": 2, "head": 8}), metric=ATTENTION)
    assert list(problems) == ["/patch/receivers/0/head"]
