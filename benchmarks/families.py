"""The engine on a model of another family, against PyTorch hooks on transformers' own model: GPT-2's keys.

Run: ``python -m benchmarks.engine --family llama [--only KEY,KEY] [--json FILE]``: a Llama of
SmolLM2-135M's size with random weights.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelOrigin
from api_schemas.nodes import Node
from api_schemas.spec import JobSpec, ModelSpec
from benchmarks.experiments import (
    ATTENTION,
    HEADS,
    LLAMA,
    LOGITS,
    N_EXAMPLES,
    Experiment,
    last_stream,
    random_prompts,
)
from planning.architecture import Architecture
from worker.engine.model import Weights

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "num_hidden_layers": LLAMA.n_layers,
        "num_attention_heads": LLAMA.n_heads,
        "num_key_value_heads": LLAMA.n_kv_heads,
        "hidden_size": LLAMA.d_model,
        "intermediate_size": LLAMA.d_mlp,
        "max_position_embeddings": LLAMA.n_ctx,
        "vocab_size": LLAMA.d_vocab,
        "tie_word_embeddings": True,
    }
}
SCALE = 0.04
FOUNDING = [{"hook": "z", "layer": 23, "head": head} for head in (3, 0, 2)]
QUERY = [{"hook": "q", "layer": 24, "head": 4}]
VALUES = [{"hook": "v", "layer": layer, "head": head} for layer, head in ((20, 0), (20, 2), (22, 1), (23, 0))]


def experiments_on(shape: Architecture) -> list[Experiment]:
    """GPT-2's keys on a Llama of 25 layers or more."""
    return [
        Experiment("seed_job", {"senders": FOUNDING, "receivers": QUERY}, ATTENTION, 4, floor=1.25, reference_cells=1),
        Experiment("sweep_query_skip", {"senders": HEADS, "receivers": QUERY}, ATTENTION, 150),
        Experiment(
            "sweep_query_mlps", {"senders": HEADS, "receivers": QUERY, "direct_includes_mlps": True}, ATTENTION, 100
        ),
        Experiment(
            "sweep_logits_mlps",
            {"senders": HEADS, "receivers": last_stream(shape), "direct_includes_mlps": True},
            LOGITS,
            100,
        ),
        Experiment("sweep_values_logits", {"senders": HEADS, "receivers": VALUES}, LOGITS, 10),
        Experiment("edges", {"senders": HEADS, "receivers": {"sweep": {"hook": "q"}}}, ATTENTION, floor=5),
    ]


EXPERIMENTS = experiments_on(LLAMA)


def measure_family(family: str, only: Sequence[str] = ()) -> dict[str, Any]:
    """The keys asked for, or all, as ``benchmarks.engine`` measures them."""
    from benchmarks.engine import measure, measured_keys, memory, next_question

    model = random_model_of(family)
    weights, oracle = weights_of(model, family), HookedOracle(model)
    dataset = random_prompts(N_EXAMPLES, CONFIGS[family]["vocab_size"])
    founding = {"senders": FOUNDING, "receivers": QUERY}
    work: dict[str, Callable[[], Any]] = {
        one.key: lambda one=one: measure(one, weights, oracle, dataset)  # type: ignore[misc]
        for one in EXPERIMENTS
    }
    work |= {"next_question": lambda: next_question(weights, dataset, founding), "memory": lambda: memory(weights)}
    return measured_keys(work, only)


def random_model_of(family: str) -> Any:
    """transformers' own model with random weights."""
    from tests.tiny_families import random_model

    return random_model(family, CONFIGS[family], seed=0, scale=SCALE)


def weights_of(model: Any, family: str) -> Weights:
    """Its weights as a worker loads them."""
    from worker.models.loading import load_model

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        registry = {family: ModelOrigin(name=family, folder=folder)}
        return load_model(family, ModelSpec(name=family), registry, "cpu", Path(folder) / "weights").weights


class HookedOracle:
    """PyTorch hooks on transformers' own model."""

    def __init__(self, model: Any, device: str = "cpu") -> None:
        from tests.hooked_parts import ungrouped

        self._hooked, self._device = ungrouped(model), torch.device(device)
        self._hooked.model.to(device)

    def cell(self, spec: JobSpec, dataset: ResolvedDataset, senders: list[Node], receivers: list[Node]) -> torch.Tensor:
        """The metric of one cell, per example, clean runs included."""
        with self._device:
            return self._cell(spec, dataset, senders, receivers)

    def _cell(
        self, spec: JobSpec, dataset: ResolvedDataset, senders: list[Node], receivers: list[Node]
    ) -> torch.Tensor:
        from tests.hooked import patch

        orig, new = torch.tensor(dataset.orig), torch.tensor(dataset.new)
        masks = {id(node): torch.ones_like(orig, dtype=torch.bool) for node in (*senders, *receivers)}
        through_mlps = spec.patch.direct_includes_mlps  # type: ignore[union-attr]
        with torch.no_grad():
            run = patch(self._hooked, orig, new, senders, receivers, masks, through_mlps, through_mlps)
        return _metric(spec, dataset, run, receivers[0])

    def clean(self, spec: JobSpec, dataset: ResolvedDataset, receiver: Node) -> dict[str, torch.Tensor]:
        """The metric of the two unpatched runs."""
        from tests.hooked import watched

        with self._device, torch.no_grad():
            return {
                name: _metric(spec, dataset, watched(self._hooked, torch.tensor(prompts)), receiver)
                for name, prompts in (("orig", dataset.orig), ("new", dataset.new))
            }


def _metric(spec: JobSpec, dataset: ResolvedDataset, run: Any, receiver: Node) -> torch.Tensor:
    batch = torch.arange(len(dataset))
    if spec.all_metrics[0].kind == "logit_diff":
        row, places = run.logits[:, -1], (dataset.answers["IO"], dataset.answers["S"])
    else:
        row, places = (
            run.patterns[receiver.layer or 0][:, receiver.head, -1],
            (dataset.roles["IO"], dataset.roles["S1"]),
        )
    first, second = (row[batch, torch.tensor(place)] for place in places)
    return (first - second).cpu()
