"""Exact values of the cells with the largest estimates, beside these."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api_schemas.metrics import Metric, title_of
from planning.grid import Grid
from worker.jobs.records import Estimates, Exact, Numbers
from worker.jobs.scale import Scale

Arrays = dict[str, Numbers]


@dataclass(frozen=True, eq=False)
class Verified:
    """One metric's verified cells, largest estimated effect first; means over the examples, on the metric's scale."""

    cells: NDArray[np.int64]
    estimate: NDArray[np.float64]
    exact: NDArray[np.float64]
    orig: NDArray[np.float64]

    def fields(self, shape: Sequence[int]) -> Arrays:
        """The result's arrays, the exact values also on a grid of this shape."""
        on_grid = np.full(shape, np.nan)
        on_grid.ravel()[self.cells] = self.exact
        return {"estimate": self.estimate, "verified": self.exact, "exact": on_grid}


def verified_cells(metric: Metric, index: int, estimates: Estimates, found: Exact) -> Verified:
    """From the estimates and what the last phase found; ``index`` is the metric's in the spec."""
    values, cells = estimates.output.metrics[index], estimates.chosen[index]
    effect, union = values.mean_effect, estimates.union
    exact = (found.sums[index] / found.n_examples)[[union.index(int(cell)) for cell in cells]]
    orig, new = (run.astype(np.float64).mean(axis=0) for run in (values.orig, values.new))
    receivers = cells % effect.shape[-1] if len(orig) > 1 else np.zeros_like(cells)
    estimate, base = effect.ravel()[cells] + orig[receivers], orig[receivers]
    scale = Scale.of(metric, orig, new)
    if scale is not None:
        estimate, exact, base = (scale.at(receivers).apply(numbers) for numbers in (estimate, exact, base))
    return Verified(cells, estimate, exact, base)


@np.errstate(invalid="ignore")  # normalize may have divided by zero
def furthest_off(metric: Metric, grid: Grid, verified: Verified) -> str:
    """How far off the worst estimate of an effect is."""
    worst = int(np.argmax(np.nan_to_num(np.abs(verified.estimate - verified.exact))))
    assert grid.receivers is not None
    sender, receiver = divmod(int(verified.cells[worst]), len(grid.receivers.cells))
    ends = [" + ".join(map(str, cell)) for cell in (grid.senders.cells[sender], grid.receivers.cells[receiver])]
    estimated, exact = (float((values - verified.orig)[worst]) for values in (verified.estimate, verified.exact))
    return (
        f"{title_of(metric)}: of {len(verified.cells)} verified cells, the estimate is furthest off in "
        f"{' → '.join(ends)}: effect {estimated:.4g} estimated, {exact:.4g} exact"
    )
