"""The engine on every family: what it shares among cells, and computes on few rows, is the plain algorithm."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.graph import Site
from tests.family_patches import (
    CLOSE,
    LENGTHS,
    Patch,
    hooks_of,
    logit_diff,
    nodes,
    padded,
    patches,
    real_tokens,
    sites,
    weights_of,
)
from tests.random_families import ARCHITECTURES, N_LAYERS
from tests.tiny_weights import node, patched, prompts, result_of
from worker.engine.path_patch import Run, forward, path_patch, put


@settings(max_examples=30)
@given(LENGTHS, patches(), st.booleans(), st.sampled_from(["add", "overwrite"]), st.integers(0, 3), st.integers(0, 99))
def test_the_sweep_is_the_plain_algorithm(
    lengths: list[int],
    patch: Patch,
    through_mlps: bool,
    update: str,
    head: int,
    seed: int,
) -> None:
    """Both algorithms, every hook, prompts of unequal length: logits and an attention of the final run agree."""
    family, senders, receivers = patch
    weights, dataset = weights_of(family), prompts(lengths, seed)
    final = path_patch(
        weights, padded(dataset.orig), padded(dataset.new), sites(senders), sites(receivers), real_tokens(dataset),
        through_mlps, update == "overwrite",
    )  # fmt: skip
    spec = {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps, "receiver_update": update}
    np.testing.assert_allclose(patched(weights, dataset, spec), logit_diff(final, dataset), **CLOSE)
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    attention = {"kind": "attention", "query": "end", "key": "first", "head": {"layer": 2, "head": head}}
    expected = final["pattern", 2][batch, end, head, 0]
    np.testing.assert_allclose(patched(weights, dataset, spec, attention), expected, **CLOSE)


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("through_mlps", [False, True])
def test_a_swept_cell_is_the_patch_of_its_two_heads(family: str, through_mlps: bool) -> None:
    """Every head into the queries, keys and values of the last two layers, cell by cell."""
    weights, dataset = weights_of(family), prompts([5, 3], seed=1)
    runs = padded(dataset.orig), padded(dataset.new)
    for hook in ("q", "k", "v"):
        sweeps = {"senders": {"sweep": {"hook": "z"}}, "receivers": {"sweep": {"hook": hook, "layers": [1, 2]}}}
        values = patched(weights, dataset, {**sweeps, "direct_includes_mlps": through_mlps})
        for sender, receiver in [((0, 0), (0, 0)), ((0, 3), (1, 1)), ((1, 2), (1, 0))]:
            ends = [Site("z", sender[0], sender[1])], [Site(hook, receiver[0] + 1, receiver[1])]
            final = path_patch(weights, *runs, *ends, real_tokens(dataset), through_mlps)
            np.testing.assert_allclose(values[(*sender, *receiver)], logit_diff(final, dataset), **CLOSE)


@settings(max_examples=20)
@given(LENGTHS, st.data(), st.integers(0, 99))
def test_activation_patching_sets_what_it_names(lengths: list[int], data: st.DataObject, seed: int) -> None:
    """One node of any hook is set to its value in new, and all that follows is computed again."""
    family = data.draw(st.sampled_from(list(ARCHITECTURES)))
    hooks = hooks_of(
        family, "z", "q", "k", "v", "pattern", "attn_out", "pre", "post", "mlp_out", "resid_mid", "resid_pre"
    )
    one = data.draw(nodes(family, hooks, st.integers(0, N_LAYERS - 1)))
    weights, dataset = weights_of(family), prompts(lengths, seed)
    (site,), here = sites([one]), real_tokens(dataset)
    new = forward(weights, padded(dataset.new))

    def set_it(point: tuple[str, int | None], value: torch.Tensor, run: Run) -> torch.Tensor:
        return put(value, new[point], site.unit, here) if point == (site.hook, site.layer) else value

    final = forward(weights, padded(dataset.orig), set_it)
    found = patched(weights, dataset, {"kind": "activation", "nodes": [one]})
    np.testing.assert_allclose(found, logit_diff(final, dataset), **CLOSE)


@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("through_mlps", [False, True])
def test_all_writers_into_the_end_make_new(family: str, through_mlps: bool) -> None:
    """The result's own check, and orig patched with itself changes nothing, bit for bit."""
    weights, dataset = weights_of(family), prompts([6, 4], seed=2)
    patch = {"senders": {"sweep": {"hook": "z"}}, "receivers": [node("resid_post", 2)]}
    checks = result_of(weights, dataset, {**patch, "direct_includes_mlps": through_mlps}).checks
    assert checks["identity_max_abs"] == 0
    assert checks["completeness_max_abs"] < 1e-4
