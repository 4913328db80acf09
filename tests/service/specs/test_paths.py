"""Paths of several hops: what does not fit is told at its place before anything is queued."""

from typing import Any

import pytest

from tests.specs_of_demo import check, problems

SENDER, VALUE = {"hook": "z", "layer": 0, "head": 1}, {"hook": "v", "layer": 1, "head": 2}
QUERY, LAST = {"hook": "q", "layer": 2, "head": 3}, {"hook": "resid_post", "layer": 3}
LOGIT_DIFF = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
SWEEP = {"sweep": {"hook": "z"}}


@pytest.mark.parametrize(
    ("patch", "pointer", "sentence"),
    [
        ({"paths": []}, "/patch/paths", "the list is empty"),
        ({"paths": [[SENDER]]}, "/patch/paths/0", "at least two nodes"),
        ({"paths": [[SENDER, VALUE]], "senders": [SENDER]}, "/patch/senders", "senders do not go with paths"),
        (
            {"paths": [[SENDER, VALUE]], "direct_includes_mlps": True},
            "/patch/direct_includes_mlps",
            "listed edges",
        ),
        ({"paths": [[QUERY, LAST]]}, "/patch/paths/0/0/hook", "hook 'q' cannot be a first node of a path"),
        ({"paths": [[SENDER, SENDER, LAST]]}, "/patch/paths/0/1/hook", "hook 'z' cannot be a later node of a path"),
        ({"paths": [[SENDER, SWEEP]]}, "/patch/paths/0/1", "only be the first node"),
        ({"paths": [[SWEEP, LAST], [{"sweep": {"hook": "mlp_out"}}, LAST]]}, "/patch/paths/1/0", "must be the same"),
        ({"paths": [[SENDER, QUERY, VALUE]]}, "/patch/paths/0/2", "no edge leads from q 2.3 to v 1.2"),
        ({"paths": [[SENDER, VALUE, {**VALUE, "head": 5}]]}, "/patch/paths/0/2", "v 1.5 is read before v 1.2"),
        ({"paths": [[{**SENDER, "layer": 1}, VALUE]]}, "/patch/paths/0/1", "no edge leads from z 1.1 to v 1.2"),
        ({"paths": [[SENDER, {**VALUE, "head": 8}, LAST]]}, "/patch/paths/0/1/head", "head 8 does not exist"),
        ({"paths": [[SENDER, {**VALUE, "positions": "S9"}]]}, "/patch/paths/0/1/positions", 'there is no role "S9"'),
        ({"paths": [[{"sweep": {"hook": "z", "layers": [9]}}, LAST]]}, "/patch/paths/0/0/sweep/layers/0", "layer 9"),
        (
            {"paths": [[SENDER, VALUE, LAST], [{"hook": "attn_out", "layer": 1}, LAST]]},
            "/patch/paths/0/2",
            "into resid_post 3, attn_out 1 and z 1.2 overlap",
        ),
        (
            {"paths": [[SENDER, VALUE, LAST], [SENDER, {"hook": "v", "layer": 1}, LAST]]},
            "/patch/paths/1/1",
            "v 1.2 and v 1 overlap",
        ),
        (
            {"paths": [[SWEEP, LAST], [SENDER, VALUE, LAST]]},
            "/patch/paths/0/1",
            "into resid_post 3, z 1.2 and z 1.2 overlap",
        ),
    ],
)
def test_bad_paths_are_told_by_field(patch: dict[str, Any], pointer: str, sentence: str) -> None:
    """Each with what is allowed in its place."""
    told = problems(patch=patch, metric=LOGIT_DIFF)
    assert pointer in told, told
    assert sentence in told[pointer]


def test_attribution_does_not_follow_paths() -> None:
    """It estimates single edges."""
    assert "not with paths" in problems(patch={"paths": [[SENDER, VALUE]]}, method="attribution")["/method"]


def test_the_plan_of_paths_is_priced() -> None:
    """More hops cost more, and so do more cells; axes are those of the sweep."""
    short, longer = (
        check(patch={"paths": [path]}, metric=LOGIT_DIFF) for path in ([SENDER, LAST], [SENDER, VALUE, QUERY, LAST])
    )
    swept = check(patch={"paths": [[SWEEP, QUERY, LAST]]}, metric=LOGIT_DIFF)
    assert short.estimated_flops < longer.estimated_flops < swept.estimated_flops
    assert (swept.axes, swept.shape, swept.cells) == (["sender_layer", "sender_head"], [4, 8], 32)
    assert {node.layer for node in swept.unreachable_senders} == {2, 3}


def test_a_head_of_a_metric_is_that_of_the_last_node() -> None:
    """As of a receiver; where paths end in several heads it must be named."""
    metric = {"kind": "attention", "query": "end", "key": "IO"}
    assert check(patch={"paths": [[SENDER, VALUE, QUERY]]}, metric=metric).spec.resolved_metrics[0].head is not None
    two = {"paths": [[SENDER, VALUE, QUERY], [SENDER, {**QUERY, "head": 0}]]}
    assert "not exactly one receiver head" in problems(patch=two, metric=metric)["/metric/head"]
