"""The constructors: what they build is what the contract's JSON says."""

import inspect
import json
import re
from typing import Any, get_args

import numpy as np
import pytest
import yaml

import pathpatch as pp
from api_schemas.metrics import Metric
from api_schemas.spec import JobSpec
from pathpatch.client.wire import spec_json
from pathpatch.presets import PRESETS, preset
from pathpatch.problems import SpecError
from pathpatch.specs import as_spec
from pathpatch.specs.words import title_of
from tests.specs_of_demo import document, problems_of

CONTRACT = {
    "model": {"name": "gpt2-small"},
    "dataset": {"kind": "ioi", "examples": 800, "seed": 0},
    "patch": {
        "senders": [
            {"hook": "z", "layer": 9, "head": 6},
            {"hook": "z", "layer": 9, "head": 9},
            {"hook": "z", "layer": 10, "head": 10},
        ],
        "receivers": [{"hook": "q", "layer": 10, "head": 7}],
        "direct_includes_mlps": False,
    },
    "metric": {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"},
    "output": {"per_example": True},
    "tags": {"experiment": "negative-name-movers"},
}


def test_the_constructors_build_the_contracts_example():
    """The issue's line of Python and section 2 of the contract are the same experiment."""
    spec = pp.path_patch(
        senders=pp.heads("9.6", "9.9", "10.10"),
        receivers=pp.query("10.7"),
        dataset=pp.ioi(800),
        metric=pp.attention_diff("end", "IO", "S1"),
        per_example=True,
        tags={"experiment": "negative-name-movers"},
    )
    assert spec == JobSpec.model_validate(CONTRACT)


def test_what_is_sent_reads_back_as_the_same_spec():
    """Fields left to their default are not sent, so they must mean the same on the other side."""
    spec = pp.activation_patch(
        pp.sweep("resid_pre", positions="each"), pp.ioi(10), [pp.logit_diff(), pp.kl()], model="demo", source="zero"
    )
    assert JobSpec.model_validate_json(json.dumps(spec_json(spec))) == spec


@pytest.mark.parametrize(("name", "place"), [("9.6", (9, 6)), ((9, 6), (9, 6)), (9, (9, None)), ("9", (9, None))])
def test_heads_are_named_as_papers_name_them(name, place):
    """A layer alone means all of its heads."""
    (node,) = pp.heads(name)
    assert (node.layer, node.head) == place


@pytest.mark.parametrize("name", ["9,6", "9.6.1", "L9H6", "-1.2", (1, 2, 3), None, 1.5, (1.0, 2), ["9.6"], {}, ""])
def test_a_name_that_is_no_head_says_how_to_write_one(name):
    """Heads are the field that everybody types by hand."""
    with pytest.raises(SpecError, match=r"write layer and head, as '9\.6'"):
        pp.heads(name)


def test_a_head_written_as_a_number_is_told_to_be_quoted():
    """``10.10`` is 10.1 to Python, and would be another head."""
    with pytest.raises(SpecError, match=r"10\.1 is no head.*cannot tell 10\.1 from 10\.10, so quote it"):
        pp.heads(10.10)
    with pytest.raises(SpecError, match="so quote it"):
        pp.attention_diff("end", "IO", "S1", head=10.10)


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3), np.array(3)])
def test_numpys_integers_name_layers_and_heads(number):
    """``argmax`` gives them."""
    assert pp.heads(number) == pp.heads(3)
    assert pp.query((number, number)) == pp.query("3.3")
    assert pp.sweep("z", layers=np.arange(3)) == pp.sweep("z", layers=[0, 1, 2])


def test_rank_is_a_constructor_as_every_other_metric():
    """It was the only metric that had to be written as a dict."""
    spec = pp.path_patch(pp.heads("1.1"), pp.resid(3), pp.ioi(1), pp.rank("IO", normalize="noising"))
    assert spec.metric.model_dump() == {"kind": "rank", "answer": "IO", "position": "end", "normalize": "noising"}


def test_every_metric_has_a_constructor():
    """A metric that is added is offered in Python too."""
    kinds = {kind.model_fields["kind"].annotation.__args__[0] for kind in get_args(get_args(Metric)[0])}
    assert kinds <= set(pp.__all__)


def test_the_signature_names_types_as_the_documentation_does():
    """``help(pp.path_patch)`` must fit on a screen: every union spelled out takes thirty lines."""
    signature = str(inspect.signature(pp.path_patch))
    assert "receivers: 'End'" in signature
    assert len(signature) < 700
    assert set(pp.specs.Options.__annotations__) == set(re.findall(r"``(\w+)``", _options_of(pp.path_patch)))


def _options_of(function):
    """What the docstring says of the argument ``options``."""
    return inspect.getdoc(function).partition("options: ")[2].partition(": see")[0]


def test_a_spec_shows_what_it_asks_in_a_notebook():
    """What differs from the defaults, and of 800 prompts only the first."""
    spec = pp.path_patch(pp.heads("1.1"), pp.resid(3), pp.prompts(["<b> a"] * 20, ["b"] * 20), pp.kl(), model="demo")
    html = spec._repr_html_()
    assert "&lt;b&gt; a" in html and "… 12 more" in html
    assert "use_cache" not in html


def test_a_field_that_an_older_service_lacks_is_not_sent_for_nothing():
    """A cluster's service is often a version behind the notebook."""
    spec = pp.path_patch(pp.heads("1.1"), pp.resid(3), pp.ioi(2), pp.kl(), model="demo")
    assert set(spec_json(spec)["patch"]) == {"senders", "receivers", "direct_includes_mlps", "source"}


def test_a_misspelled_argument_gets_its_suggestion():
    """Arguments of the constructor are meant as often as options of the spec."""
    for name, meant in (
        ("direct_include_mlps", "direct_includes_mlps"),
        ("dtyp", "dtype"),
        ("per_exampel", "per_example"),
    ):
        with pytest.raises(
            SpecError, match=f"path_patch has no argument '{name}': did you mean \"{meant}\"\\? It has senders, "
        ):
            pp.path_patch(pp.heads("1.1"), pp.resid(3), pp.ioi(2), pp.kl(), model="demo", **{name: 1})


@pytest.mark.parametrize("name", PRESETS)
def test_every_kind_of_spec_has_a_title(name):
    """A list with one job of another kind must not be lost for it."""
    assert len(title_of(JobSpec.model_validate(yaml.safe_load(preset(name))))) > 20


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({}, "circuits of the top edges by exact score"),
        ({"score": {"method": "attribution"}, "choose": {"by": "greedy"}}, "circuits of greedily added edges by EAP"),
        ({"choose": {"by": "acdc", "threshold": 0.01}}, "circuit by ACDC, threshold 0.01"),
        ({"edges": {"mine": ["input->logits"]}, "source": "zero"}, "circuit mine, zero-ablated"),
        (
            {"edges": {"cfg": {"n_layers": 1}, "edges": {"input->logits": {"in_graph": True}}}},
            "circuit of a graph file",
        ),
    ],
)
def test_a_circuit_is_called_by_how_it_was_found(patch, words):
    """In lists, in a notebook, in completions."""
    spec = {"model": {"name": "demo"}, "dataset": {"kind": "ioi", "examples": 2}, "metric": {"kind": "kl"}}
    title = title_of(JobSpec.model_validate(spec | {"patch": {"kind": "circuit", **patch}}))
    assert title == f"{words}: KL from orig (ioi prompts, abc, seed 0)"


def test_every_node_constructor_makes_its_hook():
    """One constructor per hook of the contract; senders and receivers fit where they are meant to go."""
    senders = [pp.heads("1.2"), pp.attn(1), pp.mlp(1), pp.neurons(1, 5), pp.resid(1, "mid"), pp.embed(), pp.pos_embed()]
    assert [nodes[0].hook for nodes in senders] == [
        "z", "attn_out", "mlp_out", "post", "resid_mid", "embed", "pos_embed",
    ]  # fmt: skip
    receivers = [pp.query("1.2"), pp.key("1.2"), pp.value("1.2"), pp.pattern("1.2"), pp.mlp_in(1)]
    assert [nodes[0].hook for nodes in receivers] == ["q", "k", "v", "pattern", "mlp_in"]
    for nodes in senders:
        pp.path_patch(nodes, pp.resid(3), pp.ioi(1), pp.kl())
    for nodes in receivers:
        pp.path_patch(pp.embed(), nodes, pp.ioi(1), pp.kl())


def test_arrays_and_numpy_numbers_are_taken_as_they_come():
    """Token ids come out of arrays, and layers out of numpy's argmax."""
    dataset = pp.tokens(np.array([[1, 2, 3]]), np.array([[1, 2, 4]]), roles={"end": np.array([2])})
    assert dataset.orig == [[1, 2, 3]] and dataset.roles == {"end": [2]}
    (node,) = pp.neurons(np.int64(3), np.int64(7))
    assert (node.layer, node.neuron) == (3, 7)


def test_one_node_may_stand_for_a_list_of_one():
    """``pp.resid(11)`` and its only node are both an end."""
    one = pp.path_patch(pp.heads("1.2")[0], pp.resid(3)[0], pp.ioi(1), pp.kl())
    assert one == pp.path_patch(pp.heads("1.2"), pp.resid(3), pp.ioi(1), pp.kl())


def test_options_reach_their_place_in_the_spec():
    """``top`` and ``webhook`` are nested in the JSON, flat in Python."""
    spec = pp.path_patch(
        pp.sweep("z"), pp.resid(3), pp.ioi(1), pp.logit_diff(), top=5, webhook="https://lab.example.org/x", verify=3,
        method="attribution",
    )  # fmt: skip
    assert spec.output.reduce is not None and spec.output.reduce.top == 5
    assert spec.webhook is not None and spec.webhook.url == "https://lab.example.org/x"
    assert (spec.method, spec.verify) == ("attribution", 3)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: pp.path_patch(pp.query("9.6"), pp.query("10.7"), pp.ioi(1), pp.kl()), "hook 'q' cannot be a sender"),
        (lambda: pp.ioi(0), "/examples"),
        (
            lambda: pp.path_patch(pp.heads("1.1"), pp.resid(3), pp.ioi(1), pp.kl(), dtype="f8"),
            '/dtype: "f8" is not possible: the',
        ),
        (
            lambda: pp.path_patch(pp.heads("1.1"), pp.resid(3), pp.ioi(1), pp.kl(), dtpe="x"),
            'no argument .dtpe.: did you mean "dtype"',
        ),
        (lambda: pp.path_patch(pp.heads("1.1"), pp.resid(3), pp.ioi(1), "kl"), r"only a name: call it, .*pp\.kl\(\)"),
        (
            lambda: pp.prompts(["a b"], ["a c"], roles={"end": [1.5]}),
            "^/roles/end/0: 1.5 is not an integer",
        ),
        (
            lambda: pp.path_patch(pp.heads("1.1"), pp.resid(3), {"kind": "ioi"}, pp.kl()),
            "^/dataset/examples: examples is missing: Number of prompts, such as 800",
        ),
        (lambda: pp.sweep("zz"), '/sweep/hook: hook "zz" cannot be a node: did you mean "z"'),
        (lambda: pp.sweep("z", layers=3), "/sweep/layers: 3 is not possible here"),
        (lambda: pp.path_patch("9.6", pp.resid(3), pp.ioi(1), pp.kl()), r"'9\.6' is no node: .*pp\.heads\('9\.6'\)"),
        (lambda: pp.path_patch(pp.heads(1), 3, pp.ioi(1), pp.kl()), "3 is no node"),
        (lambda: pp.activation_patch(None, pp.ioi(1), pp.kl()), "None is no node"),
        (lambda: pp.path_patch([], pp.resid(3), pp.ioi(1), pp.kl()), "/senders"),
    ],
)
def test_a_spec_that_cannot_be_says_which_field_and_why(build, said):
    """The mistake is found where it is typed, not after a round trip."""
    with pytest.raises(SpecError, match=said):
        build()


@pytest.mark.parametrize(
    "changes",
    [
        {"dataste": {}},
        {"dataset": {"kind": "ioi", "exmples": 8}},
        {"dataset": {"kind": "ioy", "examples": 8}},
        {"patch": {"senders": [{"hook": "z", "laeyr": 1}], "receivers": [{"hook": "q", "layer": 2}]}},
        {"patch": {"senders": [{"hook": "zz", "layer": 1}], "receivers": [{"hook": "q", "layer": 2}]}},
        {"patch": {"sendres": [{"hook": "z", "layer": 1}], "receivers": [{"hook": "q", "layer": 2}]}},
        {"patch": {"kind": "circuit", "score": {"method": "exat"}}},
        {"patch": {"kind": "circuit", "score": {"method": "integrated", "stesp": 2}}},
        {"metric": {"kind": "logit_dif", "answer": "IO"}},
        {"metric": {"kind": "kl", "positon": 3}},
        {"metric": None},
        {"output": {"per_exampel": True, "decimals": 99}},
    ],
)
def test_a_mistake_reads_in_python_as_over_http(changes: dict[str, Any]) -> None:
    """Nested names are suggested too, and no sentence is pydantic's."""
    written = document(**changes)
    with pytest.raises(SpecError) as refused:
        as_spec(written)
    told = {error.pointer: error.message for error in refused.value.errors}
    assert told == problems_of(written)
    assert "Input should be" not in str(refused.value) and "Field required" not in str(refused.value)
    assert all(
        "did you mean" in message or "out of range" in message or "missing" in message for message in told.values()
    )


def test_templates_and_prompts_carry_roles_and_answers():
    """Published datasets are reproduced from their own lists."""
    drawn = pp.templates(
        ["When [A] and [B] left, [B] thanked"], {"A": ["Mary"], "B": ["John"]}, {"A": "redraw"}, examples=1,
        roles={"S2": {"slot": "B", "occurrence": 1}, "end": -1}, answers={"IO": "A"},
    )  # fmt: skip
    assert drawn.roles["end"] == -1 and drawn.answers == {"IO": "A"}
    own = pp.prompts(["Mary thanked"], ["John thanked"], roles={"end": [1]}, answers={"IO": [" Mary"]}, swap=True)
    assert own.swap and own.answers == {"IO": [" Mary"]}


def test_a_key_may_be_named_by_the_query_head_that_reads_it() -> None:
    """Where query heads share keys; a layer alone is all of them."""
    (own,) = pp.key("2.5", query_head=True)
    assert (own.hook, own.layer, own.query_head, own.head) == ("k", 2, 5, None)
    assert [node.query_head for node in pp.value("2.5", "3.1", query_head=True)] == [5, 1]
    assert pp.key(2, query_head=True) == pp.key(2)
    assert pp.mlp_in(1)[0].hook == "mlp_in"
