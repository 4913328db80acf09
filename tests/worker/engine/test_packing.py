"""Rows that prompts share are computed once, and nobody can tell: a batch equals its examples one by one."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tests.shards import PLENTY
from tests.tiny_weights import ALL_HEADS, LOGIT_DIFF, job, node, prompts, tiny_weights
from worker.engine.rows import rows_of
from worker.engine.runs import Activations, clean_runs
from worker.jobs.records import Means
from worker.jobs.shard import Job, Shard, ShardInput, arithmetic

HOOKS = ["resid_pre", "q", "k", "v", "z", "pattern", "attn_out", "resid_mid", "post", "mlp_out"]
Prompts = list[list[int]]


def activations_of(orig: Prompts, new: Prompts, wanted: frozenset[tuple[str, int]] = frozenset()) -> Activations:
    """Of both runs, as a shard makes them."""
    return clean_runs(tiny_weights(n_ctx=80), orig, new, wanted)


def assert_equal_to_single_prompts(orig: Prompts, new: Prompts, found: Activations, hooks: list[str]) -> None:
    """At every real token, kept in passing or computed when asked for."""
    for row, prompt in enumerate([*orig, *new]):
        single = Activations(found.weights, torch.tensor([prompt]))
        for hook, layer in product(hooks, range(3)):
            alone, here = single.get(hook, layer)[0], found.get(hook, layer)[row, : len(prompt)]
            torch.testing.assert_close(here[..., : alone.shape[-1]], alone, atol=1e-5, rtol=1e-5)


pairs = st.integers(1, 6).flatmap(
    lambda length: st.tuples(*[st.lists(st.integers(0, 2), min_size=length, max_size=length)] * 2)
)


@given(st.lists(pairs, min_size=1, max_size=5), st.booleans())
@settings(max_examples=15)
def test_a_batch_equals_its_prompts_one_by_one(examples: list[tuple[list[int], list[int]]], is_wanted: bool) -> None:
    """Lengths drawn at random; three tokens only, so that beginnings, and whole prompts, are often equal."""
    orig, new = map(list, zip(*examples, strict=True))
    wanted = frozenset(product(HOOKS, range(3))) if is_wanted else frozenset()
    assert_equal_to_single_prompts(orig, new, activations_of(orig, new, wanted), HOOKS)


@pytest.mark.parametrize("kept", [False, True])
def test_tails_after_a_long_header(kept: bool) -> None:
    """Their queries are computed apart; the header's once."""
    header = [token % 7 for token in range(60)]
    orig = [[*header, number, 1, 2] for number in range(4)]
    new = [[*header, number, 3, 2] for number in range(4)]
    found = activations_of(orig, new, frozenset(product(HOOKS, range(3))) if kept else frozenset())
    found.get("resid_pre", 3)
    assert len(found.packing.prefixes) == 60 + 4 + 4 * 2 + 4 * 2
    assert_equal_to_single_prompts(orig[:2], new[:0], found, ["resid_pre", "z", "resid_mid"])


def test_rows_before_the_first_difference_are_the_same_bits() -> None:
    """So that a sender's change is exactly 0 there."""
    orig, new = [[5, 1, 2, 3], [5, 2, 2, 2]], [[5, 1, 0, 3], [5, 2, 2, 2]]
    last = activations_of(orig, new).get("resid_pre", 3)
    assert torch.equal(last[0, :2], last[2, :2])
    assert not torch.equal(last[0, 2:], last[2, 2:])
    assert torch.equal(last[1], last[3])


def test_rows_of_unequal_examples_are_computed_without_padding() -> None:
    """In every product of a final run and of the chain through MLPs."""
    mask = np.arange(6) < np.array([[2], [6], [1]])
    beside, values = rows_of(mask, torch.device("cpu")).side_by_side(4), torch.randn(3, 4, 6, 5)
    packed = beside.pack(values)
    expected = torch.cat([values[own, :, :length].flatten(0, 1) for own, length in ((0, 2), (1, 6), (2, 1))])
    assert torch.equal(packed.flatten(0, -2), expected)
    found = beside.unpack(packed[..., :2] + 1)
    for own, length in enumerate((2, 6, 1)):
        assert torch.equal(found[own, :, :length], values[own, :, :length, :2] + 1)
        assert not found[own, :, length:].any()


class Counting(TorchFunctionMode):
    """Rows of which the neurons' function is computed, and rows of each width that products write."""

    rows = 0

    def __init__(self) -> None:
        super().__init__()
        self.written: Counter[int] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.gelu:
            self.rows += args[0].shape[:-1].numel()
        if func is torch.addmm:
            self.written[args[2].shape[1]] += len(args[1])
        return func(*args, **(kwargs or {}))


def counted(shard: Shard) -> Counting:
    """A sweep whose clean runs are known."""
    with arithmetic("float32"):
        examples = shard.examples(0, len(shard.dataset), 10_000)
        shard.sweep(examples)
        with Counting() as counting:
            shard.sweep(examples)
    return counting


def shard_of(
    lengths: list[int], through_mlps: bool = False, senders: Any = ALL_HEADS, receivers: Any = (("v", 1),)
) -> Shard:
    """Prompts whose two runs differ from the first token on, heads patched into values."""
    drawn, weights = prompts(lengths), tiny_weights()
    orig, new = [[1, *prompt[1:]] for prompt in drawn.orig], [[0, *prompt[1:]] for prompt in drawn.new]
    dataset = drawn.model_copy(update={"orig": orig, "new": new})
    into = [node(hook, layer, head=0) for hook, layer in receivers]
    patch = {"senders": senders, "receivers": into, "direct_includes_mlps": through_mlps}
    of_spec = Job(job(dataset, patch, LOGIT_DIFF), weights.architecture, dataset.longest)
    return Shard.of(weights, of_spec, ShardInput(dataset), Means(), PLENTY)


@pytest.mark.parametrize("through_mlps", [False, True])
def test_a_sweep_of_unequal_prompts_computes_their_rows_alone(through_mlps: bool) -> None:
    """In the chain through MLPs, in the layer that a patch enters, and in those after it."""

    def rows_computed(lengths: list[int]) -> int:
        return counted(shard_of(lengths, through_mlps)).rows

    assert rows_computed([3, 9, 4]) == sum(rows_computed([length]) for length in (3, 9, 4)) > 0


def test_a_sender_after_the_first_receivers_enters_with_the_others() -> None:
    """Layer 1 is not run for a head of layer 1 that is patched into values of layers 1 and 2."""
    early, late = ({"sweep": {"hook": "z", "layers": [layer]}} for layer in (0, 1))
    values = [("v", 1), ("v", 2)]
    rows = [counted(shard_of([5], senders=senders, receivers=values)).rows for senders in (ALL_HEADS, early, late)]
    alone = counted(shard_of([5], senders=late, receivers=values[1:])).rows
    assert rows == [rows[1] + rows[2], rows[1], alone]


def test_the_last_layer_has_queries_where_logits_are_read_alone() -> None:
    """Two heads are patched into a value of layer 1; the last layer has keys and values at all rows, queries at one."""
    shard = shard_of([5])
    width = shard.weights.architecture.n_heads * shard.weights.architecture.d_head
    written = counted(shard).written
    assert (written[3 * width], written[2 * width]) == (0, 2 * 5)


def test_padding_counts_in_the_memory_of_cells_in_work() -> None:
    """It has no place in products; one long prompt among short ones must not fill the memory with it."""
    batch = shard_of([3, 4]).examples(0, 2, rows_at_once=300).batch
    of_lengths = [
        rows_of(np.arange(20) < np.array(lengths)[:, None], batch.runs.device) for lengths in ([5, 5], [20, 4])
    ]
    assert [batch.cells_at_once(rows) for rows in of_lengths] == [300 // 10, 300 // (24 + 16 // 4)]
