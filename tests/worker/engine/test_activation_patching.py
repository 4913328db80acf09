"""Activation patching against algebra: what must hold for any node, weights and prompts."""

from typing import Any

import numpy as np
import pytest

from api_schemas.nodes import ACTIVATION_HOOKS
from tests.tiny_weights import LOGIT_DIFF, node, patched, prompts, result_of, tiny_weights, with_itself

METRICS = [
    LOGIT_DIFF,
    {"kind": "loss"},
    {"kind": "kl"},
    {"kind": "attention", "query": "end", "key": "first", "head": {"layer": 2, "head": 0}},
]
EVERY_HOOK = pytest.mark.parametrize("hook", ACTIVATION_HOOKS)


def setting(hook: str, **more: Any) -> dict[str, Any]:
    """A patch of one hook in the middle layer, all its heads or neurons."""
    layer = None if hook in ("embed", "pos_embed") else 1
    return {"kind": "activation", "nodes": [node(hook, layer)], **more}


@EVERY_HOOK
def test_orig_patched_with_itself_changes_nothing_bit_for_bit(hook: str) -> None:
    """Any change at all would mean that something besides the patch differs between the runs."""
    arrays = result_of(tiny_weights(), with_itself(prompts([5, 4])), setting(hook), METRICS).arrays
    for number in range(len(METRICS)):
        np.testing.assert_array_equal(arrays[f"{number}/patched"], arrays[f"{number}/orig"])


@EVERY_HOOK
@pytest.mark.parametrize("source", ["new", "zero"])
def test_patching_at_a_position_leaves_every_earlier_logit_bit_equal(hook: str, source: str) -> None:
    """Attention is causal; from that position on, something does change. In a padded batch."""
    metrics = [{"kind": "logit", "answer": "A", "position": position} for position in range(4)]
    arrays = result_of(tiny_weights(), prompts([6, 4]), setting(hook, positions=3, source=source), metrics).arrays
    for position in range(3):
        np.testing.assert_array_equal(arrays[f"{position}/patched"], arrays[f"{position}/orig"])
    is_fixed = (hook, source) == ("pos_embed", "new")
    assert (np.abs(arrays["3/patched"] - arrays["3/orig"]).max() > 1e-4) == (not is_fixed)


@EVERY_HOOK
def test_a_batch_is_its_examples_one_by_one(hook: str) -> None:
    """Padded or not: an example does not see its neighbours."""
    dataset, patch = prompts([5, 2, 4, 5]), setting(hook, positions="middle")
    alone = [dataset.slice(i, i + 1).model_copy(update={"start": 0}) for i in range(len(dataset))]
    expected = np.concatenate([patched(tiny_weights(), one, patch, METRICS) for one in alone])
    np.testing.assert_allclose(patched(tiny_weights(), dataset, patch, METRICS), expected, atol=1e-5, rtol=1e-5)
