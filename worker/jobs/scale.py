"""The affine map of ``normalize``."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_schemas.metrics import Metric


@dataclass(frozen=True, eq=False)
class Scale:
    """The affine map of ``normalize``: (value - offset) / divisor, per cell or for all."""

    offset: NDArray[np.float64]
    divisor: NDArray[np.float64]

    @classmethod
    def of(cls, metric: Metric, orig_mean: NDArray[np.float64], new_mean: NDArray[np.float64]) -> "Scale | None":
        """The metric's, from the means of the two runs; None where it is not normalised."""
        if metric.normalize == "none":
            return None
        return cls(orig_mean, (new_mean - orig_mean) * (1 if metric.normalize == "denoising" else -1))

    def at(self, receivers: NDArray[np.int64]) -> "Scale":
        """The same for one cell each."""
        return Scale(self.offset[receivers], self.divisor[receivers])

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values on the metric's scale."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (values - self.offset) / self.divisor

    def stretch(self, values: NDArray[Any]) -> NDArray[Any]:
        """The map of a deviation, which has no offset and no sign."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return values / np.abs(self.divisor)
