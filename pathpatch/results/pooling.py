"""Several runs of one experiment as one result: mean, sd and sem between the runs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from api_schemas.errors import PathPatchingError
from pathpatch.results.block import Block, Floats
from pathpatch.results.result import Result


class ResultsDiffer(PathPatchingError, ValueError):
    """Results that cannot be pooled: they are not of one experiment."""

    code = "results_differ"
    title = "The results are not of one experiment"


@dataclass(frozen=True, eq=False, repr=False)
class Pooled(Result):
    """The mean over several runs; a result like any other, in which ``n`` counts runs and not examples.

    ``patched``, ``orig``, ``new`` and ``effect`` are means over the runs: each run's own mean over its examples counts
    once. ``patched_sd`` and ``patched_sem`` of a block, and ``effect_sem``, are between the runs.
    """

    @property
    def n(self) -> int:
        """Number of runs."""
        return self.blocks[0].n

    @property
    def effect_sd(self) -> Floats:
        """Standard deviation of the effect between the runs (n - 1 in the denominator); NaN for a single run."""
        sem: Any = self.block.effect_sem
        sd: Floats = sem * np.sqrt(self.n)
        return sd


def pool(results: Iterable[Result]) -> Pooled:
    """Mean, sd and n over runs that differ in their prompts alone, such as those of several seeds.

    >>> pooled = pp.pool(client.map(spec, seeds=range(8)))  # doctest: +SKIP
    >>> pooled.effect, pooled.effect_sd, pooled.n  # doctest: +SKIP

    Raises:
        ResultsDiffer: There are none, or they differ in metrics, axes or coordinates.
    """
    runs = list(results)
    if not runs:
        raise ResultsDiffer("there are no results to pool")
    _require_equal(runs)
    blocks = tuple(_pooled([run.blocks[index] for run in runs]) for index in range(len(runs[0].blocks)))
    provenance = {"model": runs[0].provenance.get("model"), "runs": [run.job_id for run in runs]}
    note = f"mean over {len(runs)} runs: n counts runs, and sd and sem are between runs"
    return Pooled(blocks=blocks, provenance=provenance, warnings=[note], spec=_without_seed(runs[0].spec))


def _require_equal(runs: Sequence[Result]) -> None:
    first, *others = [_outline(run) for run in runs]
    for number, other in enumerate(others, 2):
        for what, value in first.items():
            if other[what] != value:
                raise ResultsDiffer(f"result {number} has other {what} than result 1: {other[what]!s:.80}")


def _outline(run: Result) -> dict[str, Any]:
    """What must be equal in all runs."""
    return {
        "metrics": [(block.title, block.unit, block.normalize) for block in run.blocks],
        "axes": [_cell_axes(block) for block in run.blocks],
        "coordinates": [_cell_coordinates(block) for block in run.blocks],
        "models": run.provenance.get("model"),
    }


def _cell_axes(block: Block) -> tuple[str, ...]:
    return tuple(axis for axis in block.axes if axis != "example")


def _cell_coordinates(block: Block) -> dict[str, list[Any]]:
    return {name: values for name, values in block.coordinates.items() if name != "example"}


def _mean_over_examples(block: Block, array: Any) -> Floats:
    """One value per cell, of an array shaped as ``patched``."""
    mean: Floats = np.mean(array, axis=block.axes.index("example")) if "example" in block.axes else np.asarray(array)
    return mean


def _pooled(blocks: Sequence[Block]) -> Block:
    patched = np.stack([_mean_over_examples(block, block.patched) for block in blocks])
    effect = np.stack([_mean_over_examples(block, block.effect) for block in blocks])
    new = np.stack([_mean_of_new(block, patched.shape[1:]) for block in blocks])
    first = blocks[0]
    return Block(
        kind=first.kind,
        unit=first.unit,
        normalize=first.normalize,
        axes=_cell_axes(first),
        coordinates=_cell_coordinates(first),
        patched=patched.mean(axis=0),
        orig=(patched - effect).mean(axis=0),
        new=new.mean(axis=0),
        metric=first.metric,
        patched_sd=_sd(patched),
        patched_sem=_sd(patched) / np.sqrt(len(blocks)),
        effect_sem=_sd(effect) / np.sqrt(len(blocks)),
        reachable=first.reachable,
        n_examples=len(blocks),
        summary={} if patched.ndim > 1 else _summary(orig=patched - effect, patched=patched, new=new),
    )


def _mean_of_new(block: Block, shape: tuple[int, ...]) -> Floats:
    """The mean of the new run for each cell: it may have been told for each, for each example, or once."""
    if block.new.shape == block.shape:
        return _mean_over_examples(block, block.new)
    return np.broadcast_to(np.mean(block.new), shape)


def _sd(runs: Floats) -> Floats:
    sd: Floats = runs.std(axis=0, ddof=1) if len(runs) > 1 else np.full(runs.shape[1:], np.nan)
    return sd


def _summary(**runs: Floats) -> dict[str, Any]:
    """The statistics that a table shows, over the runs of a single cell."""
    return {
        name: {
            "mean": float(values.mean()), "sd": float(_sd(values)), "sem": float(_sd(values) / np.sqrt(len(values))),
            "median": float(np.median(values)), "min": float(values.min()), "max": float(values.max()),
            "n": len(values),
        }
        for name, values in runs.items()
    }  # fmt: skip


def _without_seed(spec: dict[str, Any] | None) -> dict[str, Any] | None:
    """The spec that the runs share, for captions."""
    if spec is None or "dataset" not in spec:
        return spec
    return spec | {"dataset": {name: value for name, value in spec["dataset"].items() if name != "seed"}}
