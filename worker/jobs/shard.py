"""A shard on a device: its examples in portions that fit into memory, each as a batch that the engine can sweep."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor

from api_schemas.datasets import ResolvedDataset
from api_schemas.patches import PathNodes
from api_schemas.spec import ActivationPatch, JobSpec, PathPatch
from planning.architecture import Architecture
from planning.graph import Graph, Site
from planning.grid import CellSlice, Grid, grid_of
from planning.paths import hops_of, plan_paths, wanted_by_paths
from planning.plan import plan_activation_patch, plan_path_patch, wanted_activations
from planning.prompts import Places, prefix_count, readings_of
from worker.engine.hops import patch_hops
from worker.engine.memory import BYTES_PER_VALUE, Portion, activation_bytes, first_portion, in_portions
from worker.engine.metrics import prepare_reads
from worker.engine.model import Weights
from worker.engine.rows import on_device
from worker.engine.runs import CHECKPOINTS, Activations, Runs, clean_runs
from worker.engine.sweep import Batch, Values, all_cells, patch_activations, patch_paths
from worker.jobs.activation_cache import ActivationCache
from worker.jobs.records import Means

Found = TypeVar("Found")


@dataclass(frozen=True)
class ShardSettings:
    """What the process offers a shard."""

    memory_bytes: int
    """Memory for activations and work, above the weights."""
    activation_cache: ActivationCache | None = None


@dataclass(frozen=True)
class Job:
    """What all shards of a job have in common."""

    spec: JobSpec
    architecture: Architecture
    longest: int
    """Tokens of the longest prompt of the whole dataset."""
    id: Hashable = field(default_factory=object)
    """Stands for this job alone."""

    @cached_property
    def grid(self) -> Grid:
        """All cells."""
        return grid_of(self.spec.patch, self.architecture, self.longest)


@dataclass(frozen=True)
class ShardInput:
    """A slice of a job's examples, and a slice of its cells."""

    dataset: ResolvedDataset
    """Its ``start`` is the index of its first example in the whole."""
    cells: CellSlice | None = None
    """None for all."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Some of a shard's examples, ready to sweep."""

    dataset: ResolvedDataset
    places: Places
    """Where the patch's nodes take part, and their source can differ from orig."""
    batch: Batch
    """Their clean runs and metrics."""


@dataclass(frozen=True, eq=False)
class Shard:
    """Some of a job's examples and cells, and all that is known about them before anything is computed."""

    weights: Weights
    spec: JobSpec
    dataset: ResolvedDataset
    grid: Grid
    means: dict[str, Tensor]
    settings: ShardSettings
    graph: Graph
    through_mlps: bool
    """Whether changes pass the MLPs between senders and receivers."""
    overwrite: bool
    """Whether a receiver's input becomes orig plus its change."""
    paths: list[PathNodes] | None
    """Paths of several hops."""
    job_id: Hashable
    cache: ActivationCache | None = None

    @classmethod
    def of(cls, weights: Weights, job: Job, shard: ShardInput, means: Means, settings: ShardSettings) -> "Shard":
        """The shard in the arithmetic of its job, on the device of the weights."""
        if job.spec.dtype == "bfloat16":
            weights = weights.bfloat16
        tensors = {name: on_device(value, weights.device) for name, value in means.values.items()}
        patch = job.spec.patch
        paths = patch.paths if isinstance(patch, PathPatch) else None
        is_edge = paths is not None and len(paths) == 1 and len(paths[0]) == 2  # a sender and a receiver
        return cls(
            weights,
            job.spec,
            shard.dataset,
            job.grid if shard.cells is None else job.grid.part(shard.cells),
            tensors,
            settings,
            Graph(weights.architecture),
            through_mlps=not isinstance(patch, ActivationPatch) and patch.direct_includes_mlps,
            overwrite=not isinstance(patch, ActivationPatch) and patch.update == "overwrite",
            paths=None if is_edge else paths,
            job_id=job.id,
            cache=settings.activation_cache,
        )

    @cached_property
    def wanted(self) -> frozenset[tuple[str, int]]:
        """Activations that this job reads."""
        readings = readings_of(self.spec.all_metrics, self.dataset.slice(0, 1))
        wanted = wanted_activations(self.grid, readings, self.through_mlps, self.graph)
        return wanted if self.paths is None else wanted | wanted_by_paths(hops_of(self.paths, self.graph), self.graph)

    @cached_property
    def kept(self) -> frozenset[tuple[str, int]]:
        """Those, and with a cache also what a next question may read."""
        if self.cache is None:
            return self.wanted
        deepest = max(layer for _, layer in self.wanted)
        layers = range(min(deepest, self.weights.architecture.n_layers))
        return self.wanted | {(hook, layer) for hook in CHECKPOINTS for layer in layers}

    @property
    def example_bytes(self) -> int:
        """Memory of one example: its activations, and every metric in every cell."""
        values = len(self.grid) * len(self.spec.all_metrics) * BYTES_PER_VALUE
        return values + activation_bytes(self.weights, self.dataset.longest, self.kept)

    @property
    def first_portion(self) -> Portion:
        """How much should fit into memory."""
        n_examples = len(self.dataset)
        rows = prefix_count([*self.dataset.orig, *self.dataset.new]) / (2 * n_examples)
        return first_portion(self.weights, n_examples, rows, self.example_bytes, self.settings.memory_bytes)

    def in_portions(self, work: Callable[[int, int, Portion], Found]) -> list[Found]:
        """Do all examples, portion by portion, in the arithmetic of the job."""
        with arithmetic(self.spec.dtype):
            portion, budget = self.first_portion, self.settings.memory_bytes
            return in_portions(len(self.dataset), portion, work, self.example_bytes, budget)

    def activations(self, dataset: ResolvedDataset) -> Activations:
        """Activations of both runs, from the cache if it holds these prompts in this arithmetic."""
        make = partial(clean_runs, self.weights, dataset.orig, dataset.new)
        if self.cache is not None:
            key = (self.weights.key, self.spec.dtype == "tf32", str(dataset.orig), str(dataset.new))
            n_bytes = len(dataset) * activation_bytes(self.weights, dataset.longest, self.kept)
            known = self.cache.get(key, make, self.job_id, n_bytes)
            if known is not None:
                known.wanted = self.kept
                return known
        return make(self.wanted)

    def first_example(self, examples: Examples) -> Examples:
        """The first of some examples alone, with the activations that are known of it."""
        first, batch = examples.dataset.start - self.dataset.start, examples.batch
        runs = batch.runs.first_example(examples.dataset.slice(0, 1).longest)
        return self.examples(first, first + 1, batch.rows_at_once, runs)

    def examples(self, start: int, stop: int, rows_at_once: int, runs: Runs | None = None) -> Examples:
        """Some examples, ready to sweep.

        Args:
            runs: Their clean runs, if these are known.
        """
        dataset = self.dataset.slice(start, stop)
        if runs is None:
            runs = Runs(self.activations(dataset), self.spec.patch.source, self.means)
        cells = [[Site.of(node) for node in cell] for cell in (self.grid.receivers or self.grid.senders).cells]
        reads = prepare_reads(runs, readings_of(self.spec.all_metrics, dataset), cells)
        places = Places(self.spec.patch.positions, dataset, self.graph, self.spec.patch.source)
        return Examples(dataset, places, Batch(runs, reads, rows_at_once))

    def sweep(self, examples: Examples) -> list[Values]:
        """Every metric (batch, sender cell, receiver cell) of the exact patch, in every cell of the shard."""
        grid, places, batch = self.grid, examples.places, examples.batch
        readings, overwrite = batch.reads.readings, self.overwrite
        n_senders, found = len(grid.senders.cells), []
        if self.paths is not None:
            plan = plan_paths(self.paths, grid.senders.cells, places, readings)
            found = [patch_hops(batch, plan, group, overwrite) for group in plan.senders]
        elif grid.receivers is None:
            n_senders = 1
            found = [patch_activations(batch, group) for group in plan_activation_patch(grid, places, readings)]
        else:
            passes = plan_path_patch(grid, places, readings)
            found = [patch_paths(batch, one, self.through_mlps, overwrite) for one in passes]
        return all_cells(batch, n_senders, chain.from_iterable(found))

    def swept(self, start: int, stop: int, rows_at_once: int) -> list[Values]:
        """``sweep`` of some examples."""
        return self.sweep(self.examples(start, stop, rows_at_once))


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
