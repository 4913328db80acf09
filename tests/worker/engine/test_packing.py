"""Rows that prompts share are computed once, and nobody can tell: a batch equals its examples one by one."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny_weights import tiny_weights
from worker.engine.runs import Activations, clean_runs

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
