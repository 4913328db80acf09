"""``path_patch``: the algorithm written out for one patch, against golden figures and against the sweep."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.datasets import ResolvedDataset
from planning.graph import Site
from tests.ends import ATTENTION, RECEIVERS, SENDERS
from tests.golden_cases import TOLERANCE, GoldenCase, golden_cases
from tests.tiny_weights import job, patched, prompts, result_of, tiny_weights
from worker.engine.model import Weights
from worker.engine.path_patch import Run, path_patch


def mask_of(positions: Any, tokens: torch.Tensor) -> torch.Tensor | None:
    """A golden case's positions as a mask."""
    if positions is None:
        return None
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for row in range(len(tokens)):
        mask[row, positions if isinstance(positions, int) else positions[row]] = True
    return mask


@pytest.mark.parametrize("case", [case for case in golden_cases() if case.source == "new"], ids=lambda case: case.id)
def test_it_gives_the_golden_figures(golden_weights: Weights, case: GoldenCase) -> None:
    """Logits and every head's attention of the last position, as the founding engine has them."""
    orig, new = torch.tensor(case.orig_tokens), torch.tensor(case.new_tokens)
    senders, receivers = ([Site.of(node) for node in nodes] for nodes in (case.senders, case.receivers))
    positions = mask_of(case.positions, orig)
    final = path_patch(golden_weights, orig, new, senders, receivers, positions, case.direct_includes_mlps)
    np.testing.assert_allclose(final["logits", None][:, -1], case.logits, atol=TOLERANCE, rtol=0)
    patterns = torch.stack(
        [final["pattern", layer][:, -1] for layer in range(golden_weights.architecture.n_layers)], dim=1
    )
    np.testing.assert_allclose(patterns, case.pattern, atol=TOLERANCE, rtol=0)


def padded(prompts_of_run: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, prompts_of_run))
    return torch.tensor([prompt + [0] * (longest - len(prompt)) for prompt in prompts_of_run])


def final_run(dataset: ResolvedDataset, senders: Any, receivers: Any, through_mlps: bool, overwrite: bool) -> Run:
    """The patch on padded prompts; padding is not patched."""
    ends = [[Site(**node) for node in nodes] for nodes in (senders, receivers)]
    orig, new = padded(dataset.orig), padded(dataset.new)
    lengths = torch.tensor([len(prompt) for prompt in dataset.orig])
    real = torch.arange(orig.shape[1])[None] < lengths[:, None]
    return path_patch(tiny_weights(), orig, new, *ends, real, through_mlps, overwrite)


@settings(max_examples=60)
@given(
    st.lists(st.integers(2, 6), min_size=1, max_size=3),
    st.sampled_from(SENDERS),
    st.sampled_from(RECEIVERS),
    st.booleans(),
    st.sampled_from(["add", "overwrite"]),
    st.integers(0, 99),
)
def test_the_sweep_is_the_same_algorithm(
    lengths: list[int], senders: Any, receivers: Any, through_mlps: bool, update: str, seed: int
) -> None:
    """Whoever reads one understands the other: logits and an attention of the final run agree to float error."""
    dataset = prompts(lengths, seed)
    final = final_run(dataset, senders, receivers, through_mlps, update == "overwrite")
    patch = {"senders": senders, "receivers": receivers, "direct_includes_mlps": through_mlps}
    patch["receiver_update"] = update
    batch, end = torch.arange(len(dataset)), torch.tensor(dataset.roles["end"])
    logits = final["logits", None][batch, end]
    expected = logits[batch, dataset.answers["A"]] - logits[batch, dataset.answers["B"]]
    close = {"atol": 1e-5, "rtol": 1e-5}
    np.testing.assert_allclose(patched(tiny_weights(), dataset, patch), expected, **close)
    attention = final["pattern", 2][batch, end, 0, 0]
    np.testing.assert_allclose(patched(tiny_weights(), dataset, patch, ATTENTION), attention, **close)


@settings(max_examples=10)
@given(st.sampled_from(RECEIVERS), st.booleans(), st.integers(0, 99))
def test_every_cell_of_a_sweep_is_one_patch(receivers: Any, through_mlps: bool, seed: int) -> None:
    """Shared work changes nothing: each head as the sender, into the same receivers."""
    dataset = prompts([5, 4], seed)
    patch = {"senders": {"sweep": {"hook": "z"}}, "receivers": receivers, "direct_includes_mlps": through_mlps}
    swept = result_of(tiny_weights(), dataset, patch, output={"per_example": True}).arrays["0/patched"]
    assert job(dataset, patch).is_sweep
    batch, end = torch.arange(2), torch.tensor(dataset.roles["end"])
    for layer in range(3):
        for head in range(2):
            senders = [{"hook": "z", "layer": layer, "head": head}]
            logits = final_run(dataset, senders, receivers, through_mlps, through_mlps)["logits", None][batch, end]
            expected = logits[batch, dataset.answers["A"]] - logits[batch, dataset.answers["B"]]
            np.testing.assert_allclose(swept[layer, head], expected, atol=1e-5, rtol=1e-5)
