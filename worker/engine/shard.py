"""One shard of a job on a device: activations, every cell, and the checks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node
from api_schemas.spec import ActivationPatch, JobSpec
from planning.grid import Grid
from worker.engine.activations import CHECKPOINTS, ActivationCache, Activations, stack_tokens
from worker.engine.patching import Patching
from worker.engine.plan import Where, wanted_activations
from worker.engine.reads import prepare_reads
from worker.engine.runs import Runs, Source, mean_name
from worker.engine.weights import GPT2Weights


@dataclass(frozen=True, eq=False)
class Shard:
    """Some of a job's examples, and all that is known about them before anything is computed."""

    weights: GPT2Weights
    spec: JobSpec
    dataset: ResolvedDataset
    grid: Grid
    means: dict[str, Tensor]
    cache: ActivationCache | None

    @property
    def through_mlps(self) -> bool:
        return not isinstance(self.spec.patch, ActivationPatch) and self.spec.patch.direct_includes_mlps

    @property
    def wanted(self) -> frozenset[tuple[str, int]]:
        """Activations that this job reads; with a cache, also those that a next question may read."""
        n_layers = self.weights.n_layers
        wanted = wanted_activations(self.grid, self.spec.all_metrics, self.through_mlps, n_layers)
        if self.cache is None:
            return wanted
        deepest = max(layer for _, layer in wanted)
        return wanted | {(hook, layer) for hook in CHECKPOINTS for layer in range(min(deepest, n_layers))}


def patching_of(shard: Shard, start: int, stop: int, rows_at_once: int) -> Patching:
    """Some examples of a shard, ready to patch; activations come from the cache where it has them."""
    spec, patch = shard.spec, shard.spec.patch
    dataset = shard.dataset.slice(start, stop)
    runs = Runs(activations_of(shard, dataset), source_of(spec), shard.means)
    is_activation_patch = isinstance(patch, ActivationPatch)
    where = Where(
        dataset, patch.positions, spec.all_metrics, shard.weights.n_layers, is_activation_patch, patch.source == "new"
    )
    overwrite = not isinstance(patch, ActivationPatch) and patch.update == "overwrite"
    cells = (shard.grid.receivers or shard.grid.senders).cells
    reads = prepare_reads(runs, spec.all_metrics, dataset, cells)
    return Patching(runs, shard.grid, where, reads, shard.through_mlps, overwrite, rows_at_once)


def source_of(spec: JobSpec) -> Source:
    return spec.patch.source


def activations_of(shard: Shard, dataset: ResolvedDataset) -> Activations:
    """Activations of both runs, from the cache if it holds these prompts."""
    tokens = stack_tokens(dataset.orig, dataset.new, shard.weights.device)
    key = (shard.weights.key, str(dataset.orig), str(dataset.new))
    if shard.cache is None:
        return Activations(shard.weights, tokens, shard.wanted)
    known = shard.cache.get(key, lambda: Activations(shard.weights, tokens))
    known.wanted = shard.wanted
    return known


def first_example(patching: Patching, grid: Grid) -> Patching:
    """The same experiment on the first example alone, in some of the cells."""
    dataset = patching.where.dataset.slice(0, 1)
    runs = patching.runs.first_example(dataset.longest)
    where = replace(patching.where, dataset=dataset)
    cells = (grid.receivers or grid.senders).cells
    reads = prepare_reads(runs, where.metrics, dataset, cells)
    return replace(patching, runs=runs, grid=grid, where=where, reads=reads)


@contextmanager
def arithmetic(dtype: str) -> Iterator[None]:
    """float32 products in full precision, unless the job asks for TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def sums_by_position(runs: Runs, nodes: list[Node], real: np.ndarray) -> dict[str, Tensor]:
    """Sums of the new run's activations over examples, per position, in float64; padding does not count."""
    mask = torch.from_numpy(real).to(runs.weights.device)
    sums: dict[str, Tensor] = {}
    for hook, layer in sorted({(node.hook, node.layer) for node in nodes}, key=str):
        value = runs.new(hook, layer).double()
        wide = mask[(slice(None), slice(None), *[None] * (value.dim() - 2))]
        sums[mean_key(hook, layer)] = (value * wide).sum(dim=0)
    return sums


def mean_key(hook: str, layer: int | None) -> str:
    """Where a phase's arrays hold the mean of an activation."""
    return f"mean/{mean_name(hook, layer)}"
