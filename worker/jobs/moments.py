"""Numbers over examples, shard by shard: nothing here depends on where shards were cut, up to float error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations over examples, per cell, in float64."""

    n: int
    mean: Numbers
    m2: Numbers

    @property
    def sd(self) -> Numbers:
        """Standard deviation with n - 1; NaN for one example."""
        return np.sqrt(self.m2 / (self.n - 1)) if self.n > 1 else np.full_like(self.m2, np.nan)


def moments(values: Numbers) -> Moments:
    """Moments over the first axis."""
    wide = values.astype(np.float64)
    mean = wide.mean(axis=0)
    return Moments(len(wide), mean, ((wide - mean) ** 2).sum(axis=0))


def moments_on_device(values: Tensor) -> Moments:
    """Moments over the first axis, taken where the values lie."""
    mean = values.mean(dim=0)
    m2 = ((values - mean) ** 2).sum(dim=0)
    return Moments(len(values), mean.cpu().numpy(), m2.cpu().numpy())


def merged(parts: list[Moments]) -> Moments:
    """Moments of all examples together (Chan et al. 1979), in the order given."""
    total = parts[0]
    for part in parts[1:]:
        n = total.n + part.n
        delta = part.mean - total.mean
        mean = total.mean + delta * (part.n / n)
        total = Moments(n, mean, total.m2 + part.m2 + delta**2 * (total.n * part.n / n))
    return total


def summary(values: Numbers) -> dict[str, float | int | None]:
    """Statistics of one number per example, as the result's ``summary`` holds them."""
    wide = values.astype(np.float64)
    with np.errstate(invalid="ignore"):  # a normalisation that divided by 0 left NaN or infinities
        found = _statistics(wide)
    return {name: finite(float(value)) for name, value in found.items()} | {"n": len(wide)}


def _statistics(wide: Numbers) -> dict[str, float]:
    sd = float(wide.std(ddof=1)) if len(wide) > 1 else float("nan")
    return {
        "mean": wide.mean(),
        "sd": sd,
        "sem": sd / np.sqrt(len(wide)),
        "median": np.median(wide),
        "min": wide.min(),
        "max": wide.max(),
    }


def finite(value: float) -> float | None:
    """JSON has no NaN: None in its place."""
    return value if np.isfinite(value) else None
