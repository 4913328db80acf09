"""One shard of a job, and a job's result from its shards: what a worker process does, without any queue.

All arrays that cross this seam are numpy. A job has one phase or several; each phase runs on every shard, and what its
shards found together is the input of the next.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelShape
from api_schemas.spec import JobSpec
from planning.grid import End, Grid, grid_of
from worker.engine.activations import ActivationCache
from worker.engine.attribution import estimated_metrics
from worker.engine.checks import completeness, identity_max_abs, largest_difference, sample_grid
from worker.engine.memory import BYTES_PER_VALUE, Portion, activation_bytes, first_portion, in_portions
from worker.engine.patching import Patching
from worker.engine.path_patch import patched_metrics
from worker.engine.positions import real_tokens
from worker.engine.runs import Runs
from worker.engine.shard import Shard, activations_of, arithmetic, first_example, patching_of, sums_by_position
from worker.engine.weights import GPT2Weights
from worker.jobs.merging import chosen_cells, merged_outputs, with_chosen_cells
from worker.jobs.reach import reach_of_shard
from worker.jobs.result import AssembledResult, assemble

__all__ = ["AssembledResult", "ShardSettings", "assemble", "finish_phase", "phases", "run_shard"]

Arrays = dict[str, NDArray[np.generic]]
DEVIATION_EXAMPLES = 4
"""With ``dtype: tf32 | bfloat16``, how many examples of each shard are also run in float32."""


@dataclass(frozen=True)
class ShardSettings:
    """What the process offers a shard."""

    memory_bytes: int
    """Memory for activations and work, above the weights."""
    device: str
    activation_cache: ActivationCache | None = None


def phases(spec: JobSpec) -> tuple[str, ...]:
    """The phases of a job, in order."""
    means = ("means",) if spec.patch.source == "mean" else ()
    verify = ("verify",) if spec.verify is not None else ()
    return (*means, "patch", *verify)


def run_shard(
    weights: GPT2Weights,
    spec: JobSpec,
    dataset: ResolvedDataset,
    longest: int,
    phase: str,
    phase_input: Arrays,
    settings: ShardSettings,
) -> Arrays:
    """Run one phase on some of a job's examples.

    Args:
        dataset: The shard's slice; its ``start`` is the index of its first example in the whole.
        longest: Tokens of the longest prompt of the whole dataset.
        phase_input: What ``finish_phase`` made of the phase before; empty in the first.

    Raises:
        OutOfMemory: One example of one cell does not fit into memory.
    """
    weights = weights.to(settings.device)
    exact = weights
    if spec.dtype == "bfloat16":
        weights = weights.bfloat16
    means = {name.removeprefix("mean/"): value for name, value in phase_input.items() if name.startswith("mean/")}
    tensors = {name: torch.from_numpy(np.asarray(value)).to(weights.device) for name, value in means.items()}
    grid = grid_of(spec.patch, weights.shape, longest)
    shard = Shard(weights, spec, dataset, grid, tensors, settings.activation_cache)
    if phase == "means":
        return _means(shard, longest, settings)
    if phase == "verify":
        return _verify(shard, phase_input, settings)
    outputs = _patch(shard, settings)
    with arithmetic("float32"):
        if spec.dtype != "float32":
            few = Shard(exact, spec, dataset.slice(0, DEVIATION_EXAMPLES), grid, tensors, None)
            outputs["check/dtype"] = _deviation(few, outputs, shard, settings)
    outputs |= reach_of_shard(spec, grid, dataset)
    outputs |= {f"mean/{name}": value for name, value in means.items() if spec.verify is not None}
    return outputs


def _example_bytes(shard: Shard) -> int:
    """Memory of one example: its activations, and every metric in every cell."""
    values = len(shard.grid) * len(shard.spec.all_metrics) * BYTES_PER_VALUE
    return values + activation_bytes(shard.weights, shard.dataset.longest, shard.wanted)


def _in_portions(shard: Shard, settings: ShardSettings, work: Callable[[int, int, Portion], Arrays]) -> list[Arrays]:
    n_pos, needed = shard.dataset.longest, _example_bytes(shard)
    portion = first_portion(shard.weights, len(shard.dataset), n_pos, needed, settings.memory_bytes)
    with arithmetic(shard.spec.dtype):
        return in_portions(len(shard.dataset), portion, work, needed, settings.memory_bytes)


def _patch(shard: Shard, settings: ShardSettings) -> Arrays:
    """Metrics of every cell, orig and new, and the checks; numbers over examples are merged in their order."""
    spec = shard.spec

    def work(start: int, stop: int, portion: Portion) -> Arrays:
        patching = patching_of(shard, start, stop, portion.rows)
        evaluate = estimated_metrics if spec.method == "attribution" else patched_metrics
        found = metric_arrays(spec, patching, evaluate(patching))
        if start == 0:
            last = len(shard.dataset.orig[0]) - 1
            checked = first_example(patching, sample_grid(shard.grid))
            found["check/identity"] = np.array([identity_max_abs(checked)])
            if shard.dataset.start == 0:
                found["check/completeness"] = np.array(completeness(patching.runs, last, shard.through_mlps))
        return found

    return merged_outputs(_in_portions(shard, settings, work))


def metric_arrays(spec: JobSpec, patching: Patching, values: list[Tensor]) -> Arrays:
    """A batch's numbers, as they cross to the host: per example, or their moments."""
    arrays: Arrays = {"n": np.array([patching.runs.n_examples])}
    keeps_examples = spec.per_example or len(patching.grid) == 1
    for place, value in enumerate(values):
        orig = patching.reads.orig_values[place]
        if keeps_examples:
            arrays[f"patched/{place}"] = to_host(value)
        else:
            wide, effect = value.double(), value.double() - orig.double()
            mean, effect_mean = wide.mean(dim=0), effect.mean(dim=0)
            arrays[f"effect_mean/{place}"] = to_host(effect_mean)
            arrays[f"effect_m2/{place}"] = to_host(((effect - effect_mean) ** 2).sum(dim=0))
            arrays[f"patched_mean/{place}"] = to_host(mean)
            arrays[f"patched_m2/{place}"] = to_host(((wide - mean) ** 2).sum(dim=0))
        arrays[f"orig/{place}"] = to_host(orig[:, 0])
        arrays[f"new/{place}"] = to_host(patching.reads.new_values[place][:, 0])
    return arrays


def to_host(values: Tensor) -> NDArray[np.generic]:
    return values.cpu().numpy()


def _deviation(few: Shard, outputs: Arrays, shard: Shard, settings: ShardSettings) -> NDArray[np.float64]:
    """Largest deviation of any metric from float32, on the first examples."""
    n_pos, needed = few.dataset.longest, _example_bytes(few)
    portion = first_portion(few.weights, len(few.dataset), n_pos, needed, settings.memory_bytes)
    exact = patched_metrics(patching_of(few, 0, len(few.dataset), portion.rows))
    with arithmetic(shard.spec.dtype):
        fast = patched_metrics(patching_of(shard, 0, len(few.dataset), portion.rows))
    return np.array([max(largest_difference(one.float(), two) for one, two in zip(fast, exact, strict=True))])


def _means(shard: Shard, longest: int, settings: ShardSettings) -> Arrays:
    """Sums of the new run's activations over the shard, per position of the whole dataset."""
    nodes = [node for cell in shard.grid.senders.cells for node in cell]

    def work(start: int, stop: int, portion: Portion) -> Arrays:
        dataset = shard.dataset.slice(start, stop)
        real = real_tokens(dataset)
        sums = sums_by_position(Runs(activations_of(shard, dataset)), nodes, real)
        found: Arrays = {name: padded(name, to_host(value), longest) for name, value in sums.items()}
        return found | {"count": padded("count", real.sum(axis=0), longest)}

    parts = _in_portions(shard, settings, work)
    return {name: sum((part[name] for part in parts[1:]), start=parts[0][name]) for name in parts[0]}


def padded(name: str, values: NDArray[np.generic], longest: int) -> NDArray[np.generic]:
    """Zeros for the positions that no prompt of this shard has; a pattern's keys are padded too."""
    missing = longest - values.shape[0]
    widths = [(0, missing)] + [(0, 0)] * (values.ndim - 1)
    if name.startswith("mean/pattern"):
        widths[-1] = (0, missing)
    return np.pad(values, widths)


def _verify(shard: Shard, phase_input: Arrays, settings: ShardSettings) -> Arrays:
    """The exact values of the cells with the largest estimates, receiver by receiver."""
    assert shard.grid.receivers is not None
    cells = chosen_cells(phase_input)
    n_receivers = len(shard.grid.receivers.cells)
    by_receiver: dict[int, list[int]] = {}
    for cell in cells:
        by_receiver.setdefault(cell % n_receivers, []).append(cell)

    def work(start: int, stop: int, portion: Portion) -> Arrays:
        arrays: Arrays = {"n": np.array([stop - start])}
        for place in range(len(shard.spec.all_metrics)):
            arrays[f"exact/{place}"] = np.zeros(len(cells))
        for receiver, members in by_receiver.items():
            assert shard.grid.receivers is not None
            senders = [shard.grid.senders.cells[cell // n_receivers] for cell in members]
            grid = Grid(End([], senders), End([], [shard.grid.receivers.cells[receiver]]))
            part = Shard(shard.weights, shard.spec, shard.dataset, grid, shard.means, shard.cache)
            for place, value in enumerate(patched_metrics(patching_of(part, start, stop, portion.rows))):
                where = [cells.index(cell) for cell in members]
                arrays[f"exact/{place}"][where] = to_host(value.double().sum(dim=0)[:, 0])
        return arrays

    parts = _in_portions(shard, settings, work)
    return {name: sum((part[name] for part in parts[1:]), start=parts[0][name]) for name in parts[0]}


def finish_phase(spec: JobSpec, shape: ModelShape, longest: int, phase: str, outputs: list[Arrays]) -> Arrays:
    """What the shards of a phase found together, in shard order: the input of the next phase."""
    if phase == "means":
        count = np.maximum(np.sum([output["count"] for output in outputs], axis=0), 1)
        names = [name for name in outputs[0] if name != "count"]
        sums = {name: np.sum([output[name] for output in outputs], axis=0) for name in names}
        per_position = {name: count.reshape(-1, *[1] * (value.ndim - 1)) for name, value in sums.items()}
        return {name: (value / per_position[name]).astype(np.float32) for name, value in sums.items()}
    return with_chosen_cells(spec, merged_outputs(outputs))
