"""The engine on a model of another family, against PyTorch hooks on transformers' own model: GPT-2's keys.

Run: ``python -m benchmarks.engine --family llama [--json FILE]``: a Llama of SmolLM2-135M's size with random weights.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelOrigin
from api_schemas.nodes import Node
from api_schemas.spec import JobSpec, ModelSpec
from benchmarks.experiments import (
    ATTENTION,
    HEADS,
    LOGITS,
    N_EXAMPLES,
    N_POS,
    Experiment,
    random_prompts,
    run_once,
    spec_of,
)
from planning.grid import grid_of
from worker.engine.model import Weights
from worker.jobs.run import ShardSettings
from worker.models.loading import load_model

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "max_position_embeddings": 2048,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    }
}
SCALE = 0.04
FOUNDING = [{"hook": "z", "layer": 23, "head": head} for head in (3, 0, 2)]
QUERY = [{"hook": "q", "layer": 24, "head": 4}]
VALUES = [{"hook": "v", "layer": layer, "head": head} for layer, head in ((20, 0), (20, 2), (22, 1), (23, 0))]
LAST_STREAM = [{"hook": "resid_post", "layer": 29}]
SETTINGS = ShardSettings(memory_bytes=2**31, device="cpu")
TOLERANCE = 1e-4
Row = dict[str, Any]


EXPERIMENTS = [
    Experiment("seed_job", {"senders": FOUNDING, "receivers": QUERY}, ATTENTION, 4, reference_cells=1),
    Experiment("sweep_query_skip", {"senders": HEADS, "receivers": QUERY}, ATTENTION, 150),
    Experiment(
        "sweep_query_mlps", {"senders": HEADS, "receivers": QUERY, "direct_includes_mlps": True}, ATTENTION, 100
    ),
    Experiment(
        "sweep_logits_mlps", {"senders": HEADS, "receivers": LAST_STREAM, "direct_includes_mlps": True}, LOGITS, 100
    ),
    Experiment("sweep_values_logits", {"senders": HEADS, "receivers": VALUES}, LOGITS, 10),
]


def measure_family(family: str, repeats: int = 3) -> dict[str, Row]:
    """Every key: seconds of the engine, of hook by hook, their ratio, and the largest difference."""
    from tests.hooked_parts import ungrouped
    from tests.tiny_families import random_model

    model = random_model(family, CONFIGS[family], seed=0, scale=SCALE)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        registry = {family: ModelOrigin(name=family, folder=folder)}
        weights = load_model(family, ModelSpec(name=family), registry, "cpu", Path(folder) / "weights").weights
    hooked, dataset = ungrouped(model), random_prompts(N_EXAMPLES, CONFIGS[family]["vocab_size"])
    return {one.key: _measured(one, weights, hooked, dataset, repeats) for one in EXPERIMENTS}


def _measured(experiment: Experiment, weights: Weights, hooked: Any, dataset: ResolvedDataset, repeats: int) -> Row:
    from benchmarks.engine import Times, clean_forwards
    from tests.hooked_runs import run as unpatched

    spec, times = spec_of(experiment.patch, experiment.metric, dataset), Times()
    grid = grid_of(spec.patch, weights.architecture, N_POS)  # type: ignore[arg-type]
    assert grid.receivers is not None
    n_senders = len(grid.senders.cells)
    cells = np.linspace(0, n_senders - 1, experiment.reference_cells).astype(int).tolist()
    times.run("warm-up", lambda: run_once(weights, spec, dataset, SETTINGS))
    values: dict[int, np.ndarray] = {}
    for turn in range(repeats):
        result = times.run("engine", lambda: run_once(weights, spec, dataset, SETTINGS))
        times.run("clean", lambda: clean_forwards(weights, dataset))
        if turn == 0:
            for cell in cells:
                ends = grid.senders.cells[cell], grid.receivers.cells[0]
                values[cell] = times.run(cell, _reference(hooked, spec, dataset, *ends)).numpy()
    patched = result.arrays["0/patched"].reshape(n_senders, len(dataset))
    difference = max(float(np.abs(patched[cell] - value).max()) for cell, value in values.items())
    assert difference < TOLERANCE, f"{experiment.key} differs from the reference by {difference}"
    reference_s = times.sum(cells) / len(cells) * n_senders
    if n_senders == 1:  # a whole job: patched, and the metric of orig and new
        for name, prompts in (("orig", dataset.orig), ("new", dataset.new)):
            times.run(name, lambda prompts=prompts: unpatched(hooked, torch.tensor(prompts)))
        reference_s += times.sum(["orig", "new"])
    return {
        "cells": n_senders,
        "seconds": times.best["engine"],
        "reference_seconds": reference_s,
        "reference_cells_measured": len(cells),
        "ratio": reference_s / times.best["engine"],
        "clean_runs": times.best["engine"] / times.best["clean"],
        "at_least": experiment.at_least,
        "max_abs_difference": difference,
    }


def _reference(
    hooked: Any, spec: JobSpec, dataset: ResolvedDataset, senders: list[Node], receivers: list[Node]
) -> Callable[[], torch.Tensor]:
    """One cell hook by hook, clean runs included."""
    from tests.hooked import patch

    orig, new = torch.tensor(dataset.orig), torch.tensor(dataset.new)
    masks = {id(node): torch.ones_like(orig, dtype=torch.bool) for node in (*senders, *receivers)}
    through_mlps = spec.patch.direct_includes_mlps  # type: ignore[union-attr]
    batch = torch.arange(len(dataset))

    def work() -> torch.Tensor:
        with torch.no_grad():
            final = patch(hooked, orig, new, senders, receivers, masks, through_mlps, through_mlps)
        if spec.all_metrics[0].kind == "logit_diff":
            last = final.logits[:, -1]
            return last[batch, torch.tensor(dataset.answers["IO"])] - last[batch, torch.tensor(dataset.answers["S"])]
        layer, head = receivers[0].layer, receivers[0].head
        row = final.patterns[layer or 0][:, head, -1]
        return row[batch, torch.tensor(dataset.roles["IO"])] - row[batch, torch.tensor(dataset.roles["S1"])]

    return work


def table_of_family(found: dict[str, Row]) -> str:
    """One line per key, in Markdown."""
    lines = ["| key | cells | engine, s | hook by hook, s | ratio | bar | engine in clean runs | largest difference |"]
    lines.append("|---" * 8 + "|")
    for key, row in found.items():
        few = "" if row["cells"] == 1 else f" (from {row['reference_cells_measured']})"
        numbers = f"{row['seconds']:.3f} | {row['reference_seconds']:.1f}{few} | {row['ratio']:.1f}x"
        end = f"{row['at_least']:g}x | {row['clean_runs']:.2f} | {row['max_abs_difference']:.1e}"
        lines.append(f"| `{key}` | {row['cells']} | {numbers} | {end} |")
    return "\n".join(lines)
