"""The oracle itself, held against figures that it had no part in."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from api_schemas.nodes import Node
from tests import reference, reference_jobs, reference_metrics, reference_runs
from tests.bridges import boot_bridge
from tests.golden_cases import TOLERANCE, GoldenCase, golden_cases


@pytest.fixture(scope="module")
def bridge(golden_model: Path) -> TransformerBridge:
    return boot_bridge(golden_model)


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.id)
def test_the_reference_gives_the_golden_figures(bridge: TransformerBridge, case: GoldenCase) -> None:
    """An oracle that disagrees with the founding engine would teach our engine its mistakes."""
    run = reference.patch(
        bridge,
        torch.tensor(case.orig_tokens),
        torch.tensor(case.new_tokens),
        case.senders,
        case.receivers,
        case.positions,
        case.direct_includes_mlps,
        source=case.source,  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(run.logits[:, -1], case.logits, atol=TOLERANCE, rtol=0)
    pattern = torch.stack(run.patterns, dim=1)[:, :, :, -1]
    np.testing.assert_allclose(pattern, case.pattern, atol=TOLERANCE, rtol=0)


def test_the_reference_shares_no_code_with_the_engine() -> None:
    """An oracle that calls what it judges agrees with every mistake. Nodes, specs, sizes and the grid are common."""
    allowed = {"collections", "dataclasses", "typing", "numpy", "torch", "transformer_lens", "api_schemas", "tests"}
    for module in (reference, reference_runs, reference_metrics, reference_jobs):
        imports = re.findall(r"^(?:from|import) (\S+)", inspect.getsource(module), re.MULTILINE)
        own = [name for name in imports if name not in ("planning.grid", "planning.architecture")]
        assert {name.partition(".")[0] for name in own} <= allowed
        assert all(name == "tests" or name.startswith("tests.reference") for name in imports if name[:5] == "tests")


@pytest.mark.parametrize("hook", ["resid_pre", "resid_mid", "resid_post"])
@pytest.mark.parametrize("layer", [0, 2])
def test_replacing_the_whole_stream_gives_the_new_run(bridge: TransformerBridge, hook: str, layer: int) -> None:
    """The bridge's own hook_resid_mid misses the skip connection: this shows that the oracle does not."""
    case = golden_cases()[0]
    orig, new = torch.tensor(case.orig_tokens), torch.tensor(case.new_tokens)
    patched = reference.patch_activations(bridge, orig, new, [Node(hook=hook, layer=layer)])  # type: ignore[arg-type]
    torch.testing.assert_close(patched.logits, reference.run(bridge, new).logits, atol=1e-4, rtol=0)
