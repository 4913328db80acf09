"""What a job's shards found, put together: slices of cells beside each other, then examples in their order."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.jobs.moments import Moments, merged
from worker.jobs.records import CellRange, Checks, MetricValues, Numbers, SweepOutput


def merged_outputs(outputs: Sequence[SweepOutput]) -> SweepOutput:
    """Outputs of consecutive shards as one.

    Args:
        outputs: By first example, then by cells. Those of equal examples are slices of one grid.
    """
    if len(outputs) == 1:
        return outputs[0]
    whole = [_side_by_side(list(slices)) for _, slices in groupby(outputs, key=lambda output: output.start)]
    return whole[0] if len(whole) == 1 else _one_after_another(whole)


def _one_after_another(outputs: list[SweepOutput]) -> SweepOutput:
    """Examples side by side, moments merged, checks at their worst."""
    metrics = [_joined(values) for values in zip(*(output.metrics for output in outputs), strict=True)]
    return replace(
        outputs[0],
        n_examples=sum(output.n_examples for output in outputs),
        metrics=metrics,
        checks=_worst(outputs),
        patched_examples=np.sum([output.patched_examples for output in outputs], axis=0),
        is_reached=np.maximum.reduce([output.is_reached for output in outputs]),
    )


def _joined(parts: Sequence[MetricValues]) -> MetricValues:
    return MetricValues(
        np.concatenate([part.orig for part in parts]),
        np.concatenate([part.new for part in parts]),
        _if_all([part.patched for part in parts], np.concatenate),
        _if_all([part.patched_moments for part in parts], merged),
        _if_all([part.effect_moments for part in parts], merged),
    )


def _if_all(parts: list[Any], join: Callable[[list[Any]], Any]) -> Any:
    return None if any(part is None for part in parts) else join(parts)


def _worst(outputs: Sequence[SweepOutput]) -> Checks:
    """What is not a number is worst of all."""
    checks = [output.checks for output in outputs]
    completeness = [check.completeness for check in checks if check.completeness is not None]
    deviations = [check.dtype for check in checks if check.dtype is not None]
    return Checks(
        float(np.max([check.identity for check in checks])),
        np.max(completeness, axis=0) if completeness else None,
        float(np.max(deviations)) if deviations else None,
    )


def _side_by_side(slices: list[SweepOutput]) -> SweepOutput:
    """One grid from its slices, all of the same examples."""
    if len(slices) == 1:
        return slices[0]
    n_senders, n_receivers = (
        max(output.cells.senders[1] for output in slices),
        max(output.cells.receivers[1] for output in slices),
    )
    is_reached = slices[0].is_reached.copy()
    if n_senders > 1:  # else all slices have the one cell's senders
        is_reached = np.zeros(n_senders, dtype=np.int32)
    for output in slices:
        is_reached[slice(*output.cells.senders) if n_senders > 1 else slice(None)] |= output.is_reached
    ranges = [output.cells for output in slices]

    def tiled(parts: list[Numbers], axes: int = 2) -> Numbers:
        return _tiled(parts, ranges, (n_senders, n_receivers), axes)

    metrics = [
        MetricValues(
            tiled([part.orig for part in parts], axes=1),
            tiled([part.new for part in parts], axes=1),
            _if_all([part.patched for part in parts], tiled),
            _if_all([part.patched_moments for part in parts], lambda found: _tiled_moments(found, tiled)),
            _if_all([part.effect_moments for part in parts], lambda found: _tiled_moments(found, tiled)),
        )
        for parts in zip(*(output.metrics for output in slices), strict=True)
    ]
    return replace(
        slices[0],
        cells=CellRange((0, n_senders), (0, n_receivers)),
        metrics=metrics,
        checks=_worst(slices),
        patched_examples=tiled([output.patched_examples for output in slices]),
        is_reached=is_reached,
    )


def _tiled(parts: list[Numbers], ranges: list[CellRange], sizes: tuple[int, int], axes: int) -> Numbers:
    """Arrays over slices of (sender cell, receiver cell), or of receiver cells alone, in one over all of them."""
    whole = np.zeros((*parts[0].shape[:-axes], *sizes[-axes:]), dtype=parts[0].dtype)
    for part, cells in zip(parts, ranges, strict=True):
        columns = slice(*cells.receivers)
        if axes == 1:
            whole[..., columns] = part
        else:
            whole[..., slice(*cells.senders), columns] = part
    return whole


def _tiled_moments(parts: list[Moments], tiled: Callable[[list[Numbers]], Numbers]) -> Moments:
    return Moments(parts[0].n, tiled([part.mean for part in parts]), tiled([part.m2 for part in parts]))


def largest(effect: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Flat indices of the largest absolute effects, largest first; equal ones in the grid's order."""
    return np.argsort(-np.nan_to_num(np.abs(effect)).ravel(), kind="stable")[:count]
