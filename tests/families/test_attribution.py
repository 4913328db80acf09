"""Attribution on every family: the derivative of the patched metric as the senders begin to move towards new."""

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.family_patches import CLOSE, LENGTHS, Patch, logit_diff, padded, patches, real_tokens, sites, weights_of
from tests.tiny_weights import prompts, result_of
from worker.engine.path_patch import forward, patch_between


@settings(max_examples=20)
@given(LENGTHS, patches(), st.booleans(), st.sampled_from(["add", "overwrite"]), st.integers(0, 99))
def test_an_estimate_is_a_derivative(
    lengths: list[int], patch: Patch, through_mlps: bool, update: str, seed: int
) -> None:
    """Senders at ``orig + t (new - orig)`` through the plain algorithm, differentiated at t = 0."""
    family, senders, receivers = patch
    # a sender before a norm enters an estimate with its whole change, so that estimates differ from this derivative
    assume(not (family in ("gemma2", "gemma3_text") and {"z", "post"} & {one["hook"] for one in senders}))
    weights, dataset = weights_of(family), prompts(lengths, seed)
    tokens = padded(dataset.orig)
    orig, new = forward(weights, tokens), forward(weights, padded(dataset.new))
    t = torch.zeros(len(dataset), requires_grad=True)
    moved = {
        point: value + t.view(-1, *[1] * (value.dim() - 1)) * (new[point] - value) for point, value in orig.items()
    }
    ends = sites(senders), sites(receivers)
    final = patch_between(
        weights, tokens, orig, moved, *ends, real_tokens(dataset), through_mlps, update == "overwrite"
    )
    metric = logit_diff(final, dataset)
    (expected,) = torch.autograd.grad(metric.sum() + 0 * t.sum(), t)
    spec = {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps, "receiver_update": update}
    found = result_of(weights, dataset, spec, method="attribution", output={"per_example": True}).arrays["0/patched"]
    np.testing.assert_allclose(found - logit_diff(orig, dataset).numpy(), expected, **CLOSE)
