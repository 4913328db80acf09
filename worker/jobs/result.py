"""A job's result from what its shards found: normalisation, reduction, and the axes that name every number."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_schemas.errors import ChecksFailed
from api_schemas.metrics import ATTENTION_METRICS, NORMALIZED_UNIT, Metric, title_of
from api_schemas.spec import JobSpec, TopCells
from planning.grid import Grid
from worker.jobs.kind import AssembledResult
from worker.jobs.merging import largest
from worker.jobs.moments import Moments, finite, moments, summary
from worker.jobs.records import Estimates, Exact, MetricValues, Numbers, SweepOutput
from worker.jobs.scale import Scale
from worker.jobs.shard import Job
from worker.jobs.verified import Verified, furthest_off, verified_cells

Arrays = dict[str, Numbers]
COMPLETENESS_TOLERANCE = {"float32": 1e-3, "tf32": 5e-2, "bfloat16": 5e-1}
"""Largest accepted difference of logits from the new run's, relative to the largest logit."""


def assemble(job: Job, output: SweepOutput, verification: tuple[Estimates, Exact] | None) -> AssembledResult:
    """The result of a sweep or of an attribution.

    Args:
        verification: The estimates, and the exact values of the largest, if some were verified.

    Raises:
        ChecksFailed: Patching orig with itself changed a metric, or all writers together do not give the new run.
    """
    spec = job.spec
    blocks, arrays, warnings, nonfinite = [], {}, [], 0
    for index, metric in enumerate(spec.resolved_metrics):
        verified = None if verification is None else verified_cells(metric, index, *verification)
        block, fields = _block(job, metric, output, output.metrics[index], verified)
        if verified is not None:
            warnings.append(furthest_off(metric, job.grid, verified))
        for name, values in fields.items():
            if values.dtype.kind == "f" and name not in _NULL_BY_NATURE.get(output.n_examples, ("exact",)):
                nonfinite += int((~np.isfinite(values)).sum())
            arrays[f"{index}/{name}"] = _rounded(values, spec.output.decimals)
        blocks.append(_rounded_statistics(block, spec.output.decimals))
    warnings = [*_warnings(spec, nonfinite), *warnings]
    checks = _checks(spec, output, nonfinite)
    return AssembledResult(blocks, arrays, checks, _unreachable(job.grid, output), warnings)


_NULL_BY_NATURE = {1: ("exact", "patched_sd", "patched_sem", "effect_sem")}
"""By number of examples, arrays in which some numbers do not exist."""


def _rounded(values: NDArray[Any], decimals: int | None) -> NDArray[Any]:
    """The array as the result holds it: rounded if asked for, and without a negative zero."""
    if values.dtype.kind != "f":
        return np.asarray(values)
    return np.asarray((values if decimals is None else np.round(values, decimals)) + 0.0)


def _rounded_statistics(block: dict[str, Any], decimals: int | None) -> dict[str, Any]:
    """The block with its statistics rounded like its arrays."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rounded(part) for name, part in value.items()}
        if isinstance(value, list):
            return [rounded(part) for part in value]
        if not isinstance(value, float):
            return value
        return (value if decimals is None else round(value, decimals)) + 0.0

    return block | {name: rounded(block[name]) for name in ("summary", "normalization") if name in block}


def _unreachable(grid: Grid, output: SweepOutput) -> list[dict[str, Any]]:
    """Senders that reach no receiver in any shard."""
    if grid.receivers is None:
        return []
    senders = [node for cell in grid.senders.cells for node in cell]
    return [
        node.model_dump(exclude_none=True)
        for node, reached in zip(senders, output.is_reached, strict=True)
        if not reached
    ]


def _checks(spec: JobSpec, output: SweepOutput, nonfinite: int) -> dict[str, float | int | None]:
    identity, deviation = output.checks.identity, output.checks.dtype
    assert output.checks.completeness is not None
    difference, scale = (float(value) for value in output.checks.completeness)
    if identity != 0:
        raise ChecksFailed(f"Patching orig with itself changed a metric by {identity:.3g}; it must change nothing.")
    allowed = COMPLETENESS_TOLERANCE[spec.dtype] * (1 + scale)
    if not (difference <= allowed or difference == 0):  # NaN in one of the two is a difference too
        raise ChecksFailed(
            f"Patching everything that is written into the last residual stream misses the new run's logits by "
            f"{difference:.3g}; float error would be below {allowed:.3g}."
        )
    return {
        "identity_max_abs": identity,
        "completeness_max_abs": finite(difference),
        "nonfinite": nonfinite,
        "dtype_max_abs": None if deviation is None else finite(deviation),
    }


def _warnings(spec: JobSpec, nonfinite: int) -> list[str]:
    warnings = []
    if spec.method == "attribution":
        warnings.append("patched is a first-order estimate from the gradient at orig, not the exact effect")
    if nonfinite:
        warnings.append(f"{nonfinite} numbers are not finite and are given as null")
    return warnings


def _block(
    job: Job, metric: Metric, output: SweepOutput, values: MetricValues, verified: Verified | None
) -> tuple[dict[str, Any], Arrays]:
    """One metric's block, and its arrays."""
    spec, grid = job.spec, job.grid
    is_of_cell = isinstance(metric, ATTENTION_METRICS) and metric.head is None
    own = is_of_cell and grid.receivers is not None and len(grid.receivers.cells) > 1
    orig, new = (run.astype(np.float64) for run in (values.orig, values.new))  # (example, receiver cell)
    if not own:
        orig, new = orig[:, :1], new[:, :1]
    orig_mean, new_mean = orig.mean(axis=0), new.mean(axis=0)
    scale = Scale.of(metric, orig_mean, new_mean)
    fields = _numbers(spec, values, orig, new, scale)
    if verified is not None:
        fields |= verified.fields(values.mean_effect.shape)
    by_cell = {name: _on_grid(name, numbers, grid.shape, len(grid), own) for name, numbers in fields.items()}
    block: dict[str, Any] = {
        "metric": {
            "kind": metric.kind,
            "title": title_of(metric),
            "unit": metric.unit if scale is None else NORMALIZED_UNIT,
            **metric.model_dump(exclude_none=True),
        },
        "axes": [axis.name for axis in grid.axes],
        "shape": list(grid.shape),
        "coordinates": {axis.name: axis.coordinates for axis in grid.axes},
        "n_examples": len(orig),
        "summary": _summary(values, orig, new, scale, own, len(grid)),
    }
    if spec.is_sweep:
        counts = output.patched_examples.reshape(grid.shape)
        by_cell["reachable"] = counts > 0
        if ((counts > 0) & (counts < len(orig))).any():
            by_cell["n_patched"] = counts
    if scale is not None:
        raw = {"orig_mean": orig_mean, "new_mean": new_mean}
        block["normalization"] = {name: _raw_means(means, grid.shape, own) for name, means in raw.items()}
    if verified is not None:
        indices = np.stack(np.unravel_index(verified.cells, grid.shape or [1]), axis=1)
        block["verified_cells"] = indices[:, : len(grid.shape)].tolist()
    if isinstance(spec.output.reduce, TopCells):
        _keep_top(block, by_cell, grid, values.mean_effect, spec.output.reduce.top, own)
    elif spec.per_example:
        block["axes"] = [*block["axes"], "example"]
        block["shape"] = [*block["shape"], len(orig)]
        block["coordinates"] = {**block["coordinates"], "example": list(range(len(orig)))}
    return block, {name: _narrow(numbers) for name, numbers in by_cell.items()}


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers as float32, which is what they were computed in."""
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def _numbers(
    spec: JobSpec,
    values: MetricValues,
    orig: NDArray[np.float64],
    new: NDArray[np.float64],
    scale: Scale | None,
) -> Arrays:
    """Patched, orig and new over (sender, receiver[, example]), on the metric's scale."""

    def scaled(numbers: NDArray[Any]) -> NDArray[Any]:
        return numbers if scale is None else scale.apply(numbers)

    found, effect = _moments(values)
    sd, effect_sd = (one.sd if scale is None else scale.stretch(one.sd) for one in (found, effect))
    means = scaled(orig.mean(axis=0) + values.mean_effect)
    deviations = {
        "patched_sd": sd,
        "patched_sem": sd / np.sqrt(found.n),
        "effect_sem": effect_sd / np.sqrt(found.n),
    }
    if spec.per_example:
        assert values.patched is not None
        patched = scaled(values.patched.astype(np.float64))
        runs = {"patched": np.moveaxis(patched, 0, -1), "orig": scaled(orig).T, "new": scaled(new).T}
        return runs | {"patched_mean": means} | deviations
    runs = {"patched": means, "orig": scaled(orig.mean(axis=0)), "new": scaled(new.mean(axis=0))}
    return runs | deviations


def _moments(values: MetricValues) -> tuple[Moments, Moments]:
    """Of patched, and of the effect: patched minus orig, example by example."""
    if values.patched is None:
        assert values.patched_moments is not None
        assert values.effect_moments is not None
        return values.patched_moments, values.effect_moments
    patched = values.patched.astype(np.float64)
    return moments(patched), moments(patched - values.orig[:, None])


def _on_grid(name: str, values: NDArray[Any], cell_shape: list[int], n_cells: int, own: bool) -> NDArray[Any]:
    """From (sender, receiver, ...) to the axes of the grid; orig and new only where they depend on the cell."""
    if name in ("estimate", "verified"):
        return values
    if name in ("orig", "new"):
        if not own:
            return np.asarray(values[0])
        n_receivers = values.shape[0]
        wide = np.broadcast_to(values[None], (n_cells // n_receivers, *values.shape))
        return wide.reshape((*cell_shape, *values.shape[1:]))
    return values.reshape((*cell_shape, *values.shape[2:]))


def _raw_means(values: NDArray[np.float64], cell_shape: list[int], own: bool) -> Any:
    """A mean for all cells, or per cell as nested lists, with null for what is not finite."""
    if not own:
        return finite(float(values[0]))
    n_cells = int(np.prod(cell_shape))
    wide = np.broadcast_to(values[None], (n_cells // len(values), len(values))).reshape(cell_shape)
    numbers = wide.astype(object)
    numbers[~np.isfinite(wide)] = None
    return numbers.tolist()


def _summary(
    values: MetricValues, orig: Numbers, new: Numbers, scale: Scale | None, own: bool, n_cells: int
) -> dict[str, Any]:
    runs: dict[str, Numbers] = {} if own else {"orig": orig, "new": new}
    if n_cells == 1:
        assert values.patched is not None
        runs["patched"] = values.patched.reshape(-1, 1)
    found: dict[str, Any] = {"patched": None, "orig": None, "new": None}
    return found | {run: _statistics(numbers, scale) for run, numbers in runs.items()}


def _statistics(values: NDArray[Any], scale: Scale | None) -> dict[str, float | int | None]:
    """Statistics on the metric's scale; the mean is scaled as a mean, so that orig's is exactly 0."""
    if scale is None:
        return summary(values[:, 0])
    mean = scale.apply(values.astype(np.float64).mean(axis=0))
    return summary(scale.apply(values)[:, 0]) | {"mean": finite(float(mean[0]))}


def _keep_top(
    block: dict[str, Any], fields: Arrays, grid: Grid, effect: NDArray[np.float64], top: int, own: bool
) -> None:
    """Keep the cells of largest absolute effect, in place: one axis ``cell``, and each former axis' entry per cell."""
    cells = largest(effect, top)
    cell_shape = grid.shape or [1]
    for name, values in fields.items():
        if name in ("estimate", "verified") or (name in ("orig", "new") and not own):
            continue
        fields[name] = values.reshape(-1)[cells]
    block["axes"], block["shape"] = ["cell"], [len(cells)]
    at = np.unravel_index(cells, cell_shape)
    named = {axis.name: [axis.coordinates[i] for i in places] for axis, places in zip(grid.axes, at, strict=False)}
    block["coordinates"] = {"cell": list(range(len(cells))), **named}
