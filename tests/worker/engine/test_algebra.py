"""Path patching against algebra: what must hold for any weights and prompts."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ends import ATTENTION, RECEIVERS, SENDERS
from tests.tiny_weights import ALL_HEADS, LOGIT_DIFF, job, node, patched, prompts, result_of, tiny_weights, with_itself
from worker.engine.model import Weights
from worker.jobs.shard import ShardSettings

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
LAST = 2
LENGTHS = st.lists(st.integers(2, 6), min_size=1, max_size=3)
METRICS = [
    LOGIT_DIFF,
    {"kind": "loss"},
    {"kind": "kl"},
    ATTENTION,
]
BOTH = pytest.mark.parametrize("through_mlps", [False, True], ids=["skip-only", "through-mlps"])
some_senders, some_receivers = st.sampled_from(SENDERS), st.sampled_from(RECEIVERS)


def without_mlps(weights: Weights) -> Weights:
    """The same model with MLPs that write nothing."""
    silent = {"W_out": torch.zeros_like(weights.W_out), "b_out": torch.zeros_like(weights.b_out)}
    return Weights(**{**weights.tensors(), **silent}, architecture=weights.architecture)  # type: ignore[arg-type]


def path(senders: Any, receivers: Any, through_mlps: bool = False, **more: Any) -> dict[str, Any]:
    return {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps, **more}


@settings(max_examples=40)
@given(LENGTHS, some_senders, some_receivers, st.booleans(), st.sampled_from(METRICS), st.integers(0, 99))
def test_orig_patched_with_itself_changes_nothing_bit_for_bit(
    lengths: list[int], senders: Any, receivers: Any, through_mlps: bool, metric: Any, seed: int
) -> None:
    """Any change at all would mean that something besides the patch differs between the runs."""
    dataset = with_itself(prompts(lengths, seed))
    result = result_of(tiny_weights(), dataset, path(senders, receivers, through_mlps), metric)
    np.testing.assert_array_equal(result.arrays["0/patched"], result.arrays["0/orig"])
    assert result.checks["identity_max_abs"] == 0.0


@BOTH
@settings(max_examples=15)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_all_writers_into_the_last_residual_stream_give_the_new_run(
    through_mlps: bool, lengths: list[int], seed: int
) -> None:
    """Then every path is patched, so that nothing of orig is left."""
    writers = [node("embed"), node("pos_embed")]
    writers += [node(hook, layer) for layer in range(3) for hook in ("attn_out", "mlp_out")]
    patch = path(writers, [node("resid_post", LAST)], through_mlps)
    result = result_of(tiny_weights(), prompts(lengths, seed), patch, [LOGIT_DIFF, {"kind": "log_prob", "answer": "A"}])
    for block in "01":
        np.testing.assert_allclose(result.arrays[f"{block}/patched"], result.arrays[f"{block}/new"], **CLOSE)
    assert result.checks["completeness_max_abs"] < 1e-4


@settings(max_examples=25)
@given(LENGTHS, some_senders, some_receivers, st.integers(0, 99))
def test_both_algorithms_agree_when_mlps_write_nothing(
    lengths: list[int], senders: Any, receivers: Any, seed: int
) -> None:
    """They differ in the MLPs between sender and receiver only."""
    weights = without_mlps(tiny_weights())
    skip, through = (
        patched(weights, prompts(lengths, seed), path(senders, receivers, mlps, receiver_update="add"))
        for mlps in (False, True)
    )
    np.testing.assert_allclose(through, skip, **CLOSE)


@pytest.mark.parametrize("receiver", [node("resid_mid", 0), node("pre", 0), node("pre", 0, neuron=2)])
@pytest.mark.parametrize("sender", [node("embed"), node("z", 0, head=1), node("attn_out", 0)])
def test_both_algorithms_agree_when_no_mlp_lies_between(sender: Any, receiver: Any) -> None:
    """The same, with all MLPs at work elsewhere."""
    skip, through = (
        patched(tiny_weights(), prompts([4, 5]), path([sender], [receiver], mlps)) for mlps in (False, True)
    )
    np.testing.assert_allclose(through, skip, **CLOSE)


@settings(max_examples=25)
@given(LENGTHS, some_senders, st.sampled_from(RECEIVERS[:-1]), st.booleans(), st.integers(0, 99))
def test_adding_to_one_receiver_is_overwriting_it(
    lengths: list[int], senders: Any, receivers: Any, through_mlps: bool, seed: int
) -> None:
    """Before the first receiver, the live input is orig's."""
    added, overwritten = (
        patched(tiny_weights(), prompts(lengths, seed), path(senders, receivers, through_mlps, receiver_update=update))
        for update in ("add", "overwrite")
    )
    np.testing.assert_allclose(added, overwritten, **CLOSE)


def test_two_receivers_in_different_layers_tell_adding_from_overwriting() -> None:
    """The second one's live input has changed through the first, which only ``add`` lets it see."""
    receivers = [node("v", 1), node("v", 2)]
    added, overwritten = (
        patched(tiny_weights(), prompts([5]), path([node("z", 0)], receivers, receiver_update=update))
        for update in ("add", "overwrite")
    )
    assert np.abs(added - overwritten).max() > 1e-3


def test_a_later_overwritten_residual_stream_hides_every_earlier_receiver() -> None:
    """All that the earlier receiver changed passes the place that is overwritten."""
    end = [node("resid_post", LAST)]
    alone, both = (
        patched(tiny_weights(), prompts([5]), path([node("z", 0)], nodes, receiver_update="overwrite"))
        for nodes in (end, [node("v", 1), *end])
    )
    np.testing.assert_allclose(alone, both, **CLOSE)


@BOTH
def test_all_heads_of_a_layer_are_its_attention_output(through_mlps: bool) -> None:
    """With new values the output bias cancels; with zero it stays, since only the heads are silenced."""
    weights, dataset = tiny_weights(), prompts([4, 6])
    receivers = [node("resid_post", LAST)]

    def run(sender: dict[str, Any], source: str) -> np.ndarray:
        return patched(weights, dataset, path([sender], receivers, through_mlps, source=source))

    np.testing.assert_allclose(run(node("z", 1), "new"), run(node("attn_out", 1), "new"), **CLOSE)
    assert np.abs(run(node("z", 1), "zero") - run(node("attn_out", 1), "zero")).max() > 1e-3
    unbiased = Weights(**{**weights.tensors(), "b_O": torch.zeros_like(weights.b_O)}, architecture=weights.architecture)  # type: ignore[arg-type]
    zeros = [
        patched(unbiased, dataset, path([sender], receivers, through_mlps, source="zero"))
        for sender in (node("z", 1), node("attn_out", 1))
    ]
    np.testing.assert_allclose(zeros[0], zeros[1], **CLOSE)


@BOTH
@pytest.mark.parametrize("receivers", RECEIVERS, ids=str)
def test_patching_at_a_position_leaves_every_earlier_logit_bit_equal(receivers: Any, through_mlps: bool) -> None:
    """Attention is causal: nothing flows back."""
    dataset = prompts([6])
    patch = path([node("z", 0)], receivers, through_mlps, positions=3)
    metrics = [{"kind": "logit", "answer": "A", "position": position} for position in range(6)]
    arrays = result_of(tiny_weights(), dataset, patch, metrics).arrays
    for position in range(3):
        np.testing.assert_array_equal(arrays[f"{position}/patched"], arrays[f"{position}/orig"])


@settings(max_examples=25)
@given(
    st.lists(st.integers(2, 6), min_size=2, max_size=4), some_senders, some_receivers, st.booleans(), st.integers(0, 99)
)
def test_a_batch_is_its_examples_one_by_one(
    lengths: list[int], senders: Any, receivers: Any, through_mlps: bool, seed: int
) -> None:
    """Padded or not: an example does not see its neighbours."""
    dataset = prompts(lengths, seed)
    patch = path(senders, receivers, through_mlps)
    together = patched(tiny_weights(), dataset, patch)
    alone = [
        patched(tiny_weights(), dataset.slice(i, i + 1).model_copy(update={"start": 0}), patch)
        for i in range(len(lengths))
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), **CLOSE)


@settings(max_examples=20)
@given(st.sets(st.integers(1, 4)), st.sampled_from([2**30, 300_000, 30_000]), some_receivers, st.booleans())
def test_where_shards_and_chunks_are_cut_changes_nothing(
    cuts: set[int], memory_bytes: int, receivers: Any, through_mlps: bool
) -> None:
    """A result is the dataset's, not the machine's."""
    dataset, patch = prompts([4, 6, 3, 5, 5]), path(ALL_HEADS, receivers, through_mlps)
    whole = patched(tiny_weights(), dataset, patch)
    parts = patched(
        tiny_weights(),
        dataset,
        patch,
        cuts=sorted(cuts),
        settings=ShardSettings(memory_bytes=memory_bytes),
    )
    np.testing.assert_allclose(parts, whole, **CLOSE)


def test_equal_jobs_give_equal_bytes() -> None:
    """Nothing depends on time, hash seeds or the order in which threads end."""
    spec = path(ALL_HEADS, {"sweep": {"hook": ["q", "k"]}})
    metric = {"kind": "attention", "query": "end", "key": "first"}
    first, second = (result_of(tiny_weights(), prompts([4, 6, 3]), spec, metric) for _ in range(2))
    assert {name: value.tobytes() for name, value in first.arrays.items()} == {
        name: value.tobytes() for name, value in second.arrays.items()
    }


def test_the_order_of_senders_does_not_matter() -> None:
    """They are patched together."""
    senders = SENDERS[-1]
    one, other = (
        patched(tiny_weights(), prompts([5]), path(nodes, [node("q", 2)], True)) for nodes in (senders, senders[::-1])
    )
    np.testing.assert_allclose(one, other, **CLOSE)


@BOTH
@pytest.mark.parametrize("update", ["add", "overwrite"])
@pytest.mark.parametrize(
    "receiver",
    [
        ("q", 2, "head"), ("k", 2, "head"), ("pattern", 2, "head"), ("v", 1, None), ("pre", 1, "neuron"),
        ("resid_mid", 1, None), ("resid_post", 2, None),
    ],
)  # fmt: skip
def test_a_node_at_two_positions_is_the_node_at_each_of_them(
    receiver: tuple[str, int, str | None], update: str, through_mlps: bool
) -> None:
    """Nodes that differ in their positions alone have no edge in common, and none hides another."""

    def split(hook: str, layer: int, unit: str | None) -> list[list[dict[str, Any]]]:
        alike = {unit: 1} if unit else {}
        apart = [node(hook, layer, positions="middle", **alike), node(hook, layer, positions="end", **alike)]
        return [
            [node(hook, layer, positions=["middle", "end"], **alike)],
            apart,
            [node(hook, layer, positions=0), *apart],
        ]

    metrics = [LOGIT_DIFF, {"kind": "attention", "query": "end", "key": "middle", "head": {"layer": 2, "head": 1}}]
    for senders in split("z", 0, "head")[:2]:
        for metric in metrics:
            joint, apart, more = (
                patched(
                    tiny_weights(),
                    prompts([5, 6, 4]),
                    path(senders, nodes, through_mlps, receiver_update=update),
                    metric,
                )
                for nodes in split(*receiver)
            )
            np.testing.assert_allclose(apart, joint, **CLOSE)
            np.testing.assert_allclose(more, joint, **CLOSE)


def test_a_sender_after_every_receiver_leaves_orig_and_is_named() -> None:
    """The contract: not an error, and not an effect."""
    patch = path([node("z", 2, head=0)], [node("q", 2, head=0)])
    result = result_of(tiny_weights(), prompts([5, 3]), patch)
    np.testing.assert_array_equal(result.arrays["0/patched"], result.arrays["0/orig"])
    assert result.unreachable_senders == [{"hook": "z", "layer": 2, "head": 0}]


def test_swapping_the_runs_of_everything_gives_the_other_run() -> None:
    """Activation patching of the first residual stream everywhere is the new run itself."""
    dataset = prompts([5, 4])
    patch = {"kind": "activation", "nodes": [node("resid_pre", 0)]}
    result = result_of(tiny_weights(), dataset, patch, [LOGIT_DIFF, {"kind": "kl"}])
    for block in "01":
        np.testing.assert_allclose(result.arrays[f"{block}/patched"], result.arrays[f"{block}/new"], **CLOSE)


@pytest.mark.parametrize("hook", ["z", "attn_out", "mlp_out", "q", "k", "v", "pattern", "pre", "post", "resid_mid"])
def test_an_activation_equal_to_its_stand_ins_gives_the_same_run(hook: str) -> None:
    """Patching all of a layer's inputs to an activation is patching the activation."""
    causes = {
        "z": [node("pattern", 1), node("v", 1)],
        "attn_out": [node("z", 1)],
        "mlp_out": [node("post", 1)],
        "post": [node("pre", 1)],
        "pre": [node("resid_mid", 1)],
        "pattern": [node("q", 1), node("k", 1)],
        "q": [node("q", 1, head=0), node("q", 1, head=1)],
        "k": [node("k", 1, head=0), node("k", 1, head=1)],
        "v": [node("v", 1, head=1), node("v", 1, head=0)],
        "resid_mid": [node("resid_pre", 1), node("attn_out", 1)],
    }
    dataset = prompts([5, 4, 4])
    if hook == "pre":  # the residual stream also carries on: compare the MLP's output alone
        causes["pre"] = [node("mlp_out", 1)]
    direct, indirect = (
        patched(tiny_weights(), dataset, {"kind": "activation", "nodes": nodes})
        for nodes in ([node(hook, 1)], causes[hook])
    )
    np.testing.assert_allclose(direct, indirect, **CLOSE)


@pytest.mark.parametrize("source", ["zero", "mean"])
@BOTH
def test_a_mean_over_one_example_is_its_new_run(source: str, through_mlps: bool) -> None:
    """And zero is neither."""
    dataset = prompts([5])
    patches = [path(SENDERS[-1], [node("resid_post", LAST)], through_mlps, source=which) for which in (source, "new")]
    one, new = (patched(tiny_weights(), dataset, patch) for patch in patches)
    assert (np.abs(one - new).max() < 1e-5) == (source == "mean")


def test_specs_are_validated_as_users_write_them() -> None:
    """The helpers of these tests go through the same door as everyone."""
    assert job(prompts([3]), path([node("z", 0)], [node("q", 1)])).patch.kind == "path"
