"""The wire contract: what a spec may say, and what it means when it does not say it."""

import copy
import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api_schemas.spec import FOUNDING_EXPERIMENT, JobSpec


def parse(**changes: Any) -> JobSpec:
    return JobSpec.model_validate_json(json.dumps({**copy.deepcopy(FOUNDING_EXPERIMENT), **changes}))


def with_patch(**changes: Any) -> dict[str, Any]:
    return {"patch": {**copy.deepcopy(FOUNDING_EXPERIMENT["patch"]), **changes}}


def test_the_contracts_example_is_a_spec() -> None:
    """The page every client starts from must be accepted as it stands."""
    spec = parse()
    assert spec.patch.kind == "path"
    assert spec.patch.update == "add"
    assert spec.per_example


def test_a_parsed_spec_survives_its_own_json() -> None:
    """The normalised spec that the service echoes is itself a valid spec."""
    spec = parse(output={"reduce": {"top": 5}}, **with_patch(positions=[[0], [1, 2]]))
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_full_hook_names_mean_the_same_as_short_ones() -> None:
    """Researchers paste TransformerLens names; both spellings must normalise to one node."""
    senders = [{"hook": "blocks.9.attn.hook_z", "head": 6}]
    node = parse(**with_patch(senders=senders)).patch.senders[0]
    assert (node.hook, node.layer, node.head, node.hook_name) == ("z", 9, 6, "blocks.9.attn.hook_z")


@pytest.mark.parametrize("name", ["blocks.9.hook_z", "blocks.9.attn.hook_resid_pre", "blocks.9.attn.hook_result"])
def test_names_that_transformer_lens_does_not_know_are_refused(name: str) -> None:
    """A near miss must not be guessed at."""
    with pytest.raises(ValidationError):
        parse(**with_patch(senders=[{"hook": name}]))


def test_a_layer_that_contradicts_the_full_name_is_refused() -> None:
    """Two answers to one question are an error, never a choice of ours."""
    with pytest.raises(ValidationError, match="contradicts"):
        parse(**with_patch(senders=[{"hook": "blocks.9.attn.hook_z", "layer": 8}]))


def test_overwrite_is_the_default_through_mlps() -> None:
    """The contract's default of receiver_update depends on the algorithm."""
    assert parse(**with_patch(direct_includes_mlps=True)).patch.update == "overwrite"
    assert parse(**with_patch(direct_includes_mlps=True, receiver_update="add")).patch.update == "add"


@pytest.mark.parametrize(
    ("senders", "message"),
    [
        ([{"hook": "q", "layer": 3}], "cannot be a sender"),
        ([{"hook": "mlp_out", "layer": 3, "head": 0}], "head 0 does not go with hook 'mlp_out'"),
        ([{"hook": "embed", "layer": 0}], "embeddings have no layer"),
        ([{"hook": "z"}], "needs a layer"),
        ([], "at least 1 item"),
    ],
)
def test_impossible_senders_are_refused(senders: list[dict[str, Any]], message: str) -> None:
    """A node that does not exist would silently compute something else."""
    with pytest.raises(ValidationError, match=message):
        parse(**with_patch(senders=senders))


def test_one_metric_or_several_but_not_both() -> None:
    """With both, the shape of the result would be ambiguous."""
    metric = FOUNDING_EXPERIMENT["metric"]
    assert len(parse(metric=None, metrics=[metric, metric]).all_metrics) == 2
    for both_or_none in ({"metrics": [metric]}, {"metric": None}):
        with pytest.raises(ValidationError, match="either metric or metrics"):
            parse(**both_or_none)


@pytest.mark.parametrize(
    "receivers",
    [
        [{"hook": "resid_post", "layer": 11}],
        [{"hook": "q", "layer": 10}],
        {"sweep": {"hook": "q", "heads": "joint"}},
        {"sweep": {"hook": "resid_pre"}},
    ],
)
def test_an_attention_metric_needs_a_head_where_no_single_receiver_names_one(receivers: Any) -> None:
    """Otherwise the head read would be a guess."""
    with pytest.raises(ValidationError, match="needs a head"):
        parse(**with_patch(receivers=receivers))


def test_receivers_of_one_head_name_the_head_of_an_attention_metric() -> None:
    """Query and key of one head are one head."""
    metric = {"kind": "attention", "query": "end", "key": "IO"}
    same = [{"hook": hook, "layer": 10, "head": 7} for hook in ("q", "k")]
    assert parse(**with_patch(receivers=same), metric=metric).metric.head is None
    with pytest.raises(ValidationError, match="needs a head"):
        parse(**with_patch(receivers=[*same, {"hook": "q", "layer": 10, "head": 6}]), metric=metric)


@pytest.mark.parametrize("field", ["patchs", "Model", "seeds"])
def test_a_misspelled_field_is_refused(field: str) -> None:
    """A field that is silently ignored is an experiment that was not run."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        parse(**{field: 1})


@pytest.mark.parametrize("value", ["3", 3.0, True, None])
def test_an_index_is_an_integer_and_nothing_like_one(value: Any) -> None:
    """Strings and booleans that happen to convert hide mistakes in the caller's code."""
    with pytest.raises(ValidationError):
        parse(**with_patch(senders=[{"hook": "z", "layer": value}]))


def test_per_example_defaults_to_one_cell_only() -> None:
    """A sweep's result stays small unless asked otherwise."""
    sweep = with_patch(senders={"sweep": {"hook": "z"}})
    assert not parse(output={}, **sweep).per_example
    assert parse(output={"per_example": True}, **sweep).per_example
    assert not parse(output={"reduce": "mean"}).per_example


def test_dataset_kinds_form_a_discriminated_union_in_the_schema() -> None:
    """Code generators need the discriminator to build one class per kind."""
    schema = JobSpec.model_json_schema()
    assert schema["properties"]["dataset"]["discriminator"]["propertyName"] == "kind"
    assert TypeAdapter(dict).validate_python(schema["properties"]["patch"]["discriminator"])["propertyName"] == "kind"
