"""Figures of other families that somebody else's engine gave, through the loader and the engine that jobs use."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.datasets import ResolvedDataset
from api_schemas.metrics import Attention, Head, Logit, Metric
from api_schemas.models import ModelOrigin
from api_schemas.nodes import Node
from api_schemas.spec import JobSpec, ModelSpec
from planning.graph import Site
from tests.shards import run_job
from worker.engine.model import Weights
from worker.engine.path_patch import path_patch
from worker.models.loading import load_model

FOLDER = Path(__file__).parents[1] / "golden" / "families"
FAMILIES = ("llama", "qwen2", "mistral", "gemma2", "gpt_neox")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """One patch of one family, and what the final run gave at the last position."""

    family: str
    stored: dict[str, Any]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return arrays_of(self.family)

    @property
    def runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of orig and new, [example, pos]."""
        orig, new = self.arrays["orig"], self.arrays["new"]
        return (new, orig) if self.stored["swap"] else (orig, new)

    def nodes(self, end: str) -> list[Node]:
        """Senders or receivers."""
        return [self._node(dict(stored)) for stored in self.stored[end]]

    def _node(self, stored: dict[str, Any]) -> Node:
        if self.stored.get("kv_index") == "query" and stored["hook"] in ("k", "v") and "head" in stored:
            stored["query_head"] = stored.pop("head")
        return Node.model_validate(stored)

    @property
    def through_mlps(self) -> bool:
        return not self.stored["freeze_mlps"]

    def expected(self, what: str) -> np.ndarray:
        return self.arrays[f"{self.stored['id']}/{what}"]


@cache
def arrays_of(family: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / family / "arrays.npz") as arrays:
        return dict(arrays)


def cases() -> list[Any]:
    found = []
    for family in FAMILIES:
        for stored in json.loads((FOLDER / family / "cases.json").read_text())["cases"]:
            found.append(pytest.param(Case(family, stored), id=f"{family}-{stored['id']}"))
    return found


@pytest.fixture(scope="session")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each family's weights, processed with the flags that it allows."""
    kept = tmp_path_factory.mktemp("weights")

    @cache
    def weights(family: str) -> Weights:
        registry = {family: ModelOrigin(name=family, folder=str(FOLDER / family / "model"))}
        return load_model(family, ModelSpec(name=family), registry, "cpu", kept).weights

    return weights


def uncentred(logits: np.ndarray, weights: Weights, expected: np.ndarray) -> np.ndarray:
    """Logits up to the constant per example that a centred unembedding takes away."""
    if weights.architecture.logit_cap is not None:
        return logits
    return logits + (expected.mean(axis=-1) - logits.mean(axis=-1))[:, None]


@pytest.mark.parametrize("case", cases())
def test_the_plain_algorithm_gives_the_golden_figures(case: Case, weights_of: Any) -> None:
    """Logits and every head's attention of the last position."""
    weights = weights_of(case.family)
    orig, new = (torch.from_numpy(tokens) for tokens in case.runs)
    here, positions = torch.ones_like(orig, dtype=torch.bool), case.stored["positions"]
    if positions is not None:
        here[:] = False
        for row in range(len(orig)):
            here[row, positions if isinstance(positions, int) else positions[row]] = True
    ends = ([Site.of(node) for node in case.nodes(end)] for end in ("senders", "receivers"))
    final = path_patch(weights, orig, new, *ends, here, case.through_mlps)
    expected = case.expected("logits")
    logits = uncentred(final["logits", None][:, -1].numpy(), weights, expected)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    patterns = torch.stack([final["pattern", layer][:, -1] for layer in range(weights.architecture.n_layers)], dim=1)
    np.testing.assert_allclose(patterns, case.expected("pattern"), atol=TOLERANCE, rtol=0)


def run_case(
    case: Case, weights: Weights, times: int, metrics: list[Metric], keys: list[int], answers: list[int]
) -> Any:
    """The case's job with each prompt ``times`` times in a row: copies ask for different keys or answers."""
    orig, new = (np.repeat(tokens, times, axis=0).tolist() for tokens in case.runs)
    n_prompts = len(orig) // times
    roles = {"key": keys * n_prompts, "end": [len(prompt) - 1 for prompt in orig]}
    dataset = ResolvedDataset(orig=orig, new=new, roles=roles, answers={"answer": answers * n_prompts})
    positions = case.stored["positions"]
    if isinstance(positions, list):
        positions = [own if isinstance(own, list) else [own] for own in positions for _ in range(times)]
    patch = {end: [node.model_dump() for node in case.nodes(end)] for end in ("senders", "receivers")}
    spec = JobSpec.model_validate(
        {
            "model": {"name": "golden"},
            "dataset": {"kind": "tokens", **dataset.model_dump(exclude={"start"})},
            "patch": {**patch, "positions": positions, "direct_includes_mlps": case.through_mlps},
            "metrics": metrics,
            "output": {"per_example": True},
        }
    )
    return run_job(weights, spec, dataset)


@pytest.mark.parametrize("case", cases())
def test_a_job_gives_the_golden_figures(case: Case, weights_of: Any) -> None:
    """Logits of the last position, and every head's attention from it, as metrics of one job each."""
    weights = weights_of(case.family)
    tokens = list(range(0, weights.architecture.d_vocab, 10))
    logit: Metric = Logit(kind="logit", answer="answer", position="end")
    result = run_case(case, weights, len(tokens), [logit], [0] * len(tokens), tokens)
    expected = case.expected("logits")[:, tokens]
    logits = uncentred(result.arrays["0/patched"].reshape(-1, len(tokens)), weights, expected)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    n_keys = case.runs[0].shape[1]
    heads = [
        Head(layer=layer, head=head)
        for layer in range(weights.architecture.n_layers)
        for head in range(weights.architecture.n_heads)
    ]
    metrics: list[Metric] = [Attention(kind="attention", query="end", key="key", head=head) for head in heads]
    result = run_case(case, weights, n_keys, metrics, list(range(n_keys)), [0] * n_keys)
    for number, head in enumerate(heads):
        pattern = result.arrays[f"{number}/patched"].reshape(-1, n_keys)
        wanted = case.expected("pattern")[:, head.layer, head.head]
        np.testing.assert_allclose(pattern, wanted, atol=TOLERANCE, rtol=0)
