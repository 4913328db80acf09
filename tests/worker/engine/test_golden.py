"""The 58 golden cases through the engine, as jobs: the seam that workers use, nothing closer."""

import numpy as np
import pytest

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import Attention, Head, Logit, Metric
from api_schemas.spec import JobSpec
from tests.golden_cases import TOLERANCE, GoldenCase, golden_cases
from tests.shards import run_job
from worker.engine.model import Weights
from worker.jobs.kind import AssembledResult


def repeated(tokens: np.ndarray, times: int) -> list[list[int]]:
    """Each prompt ``times`` times in a row: copies can then ask for different answers or keys."""
    return np.repeat(tokens, times, axis=0).tolist()


def run_case(
    weights: Weights,
    case: GoldenCase,
    times: int,
    metrics: list[Metric],
    roles: list[int],
    answers: list[int],
    **ends: object,
) -> AssembledResult:
    """A case's job; ``ends`` may put sweeps in place of its senders and receivers."""
    n_examples = len(case.orig_tokens) * times
    dataset = ResolvedDataset(
        orig=repeated(case.orig_tokens, times),
        new=repeated(case.new_tokens, times),
        roles={"key": roles * len(case.orig_tokens), "end": [case.orig_tokens.shape[1] - 1] * n_examples},
        answers={"answer": answers * len(case.orig_tokens)},
    )
    positions = case.positions
    if isinstance(positions, list):
        positions = [places for places in positions for _ in range(times)]
    spec = JobSpec.model_validate(
        {
            "model": {"name": "golden"},
            "dataset": {"kind": "tokens", **dataset.model_dump(exclude={"start"})},
            "patch": {
                "senders": [node.model_dump() for node in case.senders],
                "receivers": [node.model_dump() for node in case.receivers],
                "positions": positions,
                "direct_includes_mlps": case.direct_includes_mlps,
                "source": case.source,
                **ends,
            },
            "metrics": metrics,
            "output": {"per_example": True},
        }
    )
    return run_job(weights, spec, dataset)


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.id)
def test_the_engine_gives_the_golden_logits(golden_weights: Weights, case: GoldenCase) -> None:
    """Every logit of the last position, one copy of each prompt per token of the vocabulary."""
    d_vocab = golden_weights.architecture.d_vocab
    metric = Logit(kind="logit", answer="answer", position="end")
    result = run_case(golden_weights, case, d_vocab, [metric], [0] * d_vocab, list(range(d_vocab)))
    logits = result.arrays["0/patched"].reshape(-1, d_vocab)
    np.testing.assert_allclose(logits, case.logits, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", golden_cases(), ids=lambda case: case.id)
def test_the_engine_gives_the_golden_attention_patterns(golden_weights: Weights, case: GoldenCase) -> None:
    """Every head's attention from the last position, one copy of each prompt per key."""
    n_keys = case.orig_tokens.shape[1]
    heads = [Head(layer=layer, head=head) for layer in range(4) for head in range(4)]
    metrics: list[Metric] = [Attention(kind="attention", query="end", key="key", head=head) for head in heads]
    result = run_case(golden_weights, case, n_keys, metrics, list(range(n_keys)), [0] * n_keys)
    for number, head in enumerate(heads):
        pattern = result.arrays[f"{number}/patched"].reshape(-1, n_keys)
        np.testing.assert_allclose(pattern, case.pattern[:, head.layer, head.head], atol=TOLERANCE, rtol=0)


def is_cell_of_a_sweep(case: GoldenCase) -> bool:
    """Whether one head sends and one head receives."""
    ends = [*case.senders, *case.receivers]
    return len(ends) == 2 and all(node.head is not None for node in ends)


@pytest.mark.parametrize("case", list(filter(is_cell_of_a_sweep, golden_cases())), ids=lambda case: case.id)
def test_a_sweep_holds_the_golden_figures_in_its_cell(golden_weights: Weights, case: GoldenCase) -> None:
    """The sweep's shared work gives the same numbers: every head into every head of the receiver's layer."""
    tokens = list(range(0, golden_weights.architecture.d_vocab, 20))
    (sender,), (receiver,) = case.senders, case.receivers
    result = run_case(
        golden_weights,
        case,
        len(tokens),
        [Logit(kind="logit", answer="answer", position="end")],
        [0] * len(tokens),
        tokens,
        senders={"sweep": {"hook": sender.hook}},
        receivers={"sweep": {"hook": receiver.hook, "layers": [receiver.layer]}},
    )
    cell = result.arrays["0/patched"][sender.layer, sender.head, 0, receiver.head]
    np.testing.assert_allclose(cell.reshape(-1, len(tokens)), case.logits[:, tokens], atol=TOLERANCE, rtol=0)
