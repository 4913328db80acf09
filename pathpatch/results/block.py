"""One metric's arrays, with named axes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathpatch.results.cells import cell_name

Floats = NDArray[np.float64]
ARRAY_FIELDS = (
    "patched", "patched_mean", "patched_sd", "patched_sem", "effect_sem", "orig", "new", "reachable", "n_patched",
    "exact", "estimate", "verified",
)  # fmt: skip
CELL_FIELDS = ("patched_mean", "patched_sd", "patched_sem", "effect_sem", "reachable", "n_patched", "exact")
"""Arrays over the cells, without an ``example`` axis."""


def _numbers(nested: Any) -> Floats:
    """Nested lists as an array; a null (not finite, or not computed) is NaN."""
    return np.asarray(nested, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Block:
    """One metric's arrays; ``axes`` names the axes of ``patched``, ``coordinates`` the value at each index.

    A number that is not finite, or was not computed, is NaN.
    """

    kind: str
    unit: str
    normalize: str
    axes: tuple[str, ...]
    coordinates: dict[str, list[Any]]
    patched: Floats
    orig: Floats
    new: Floats
    metric: dict[str, Any] = field(default_factory=dict)
    """The metric as the result names it: ``kind``, ``title``, and its own fields."""
    patched_mean: Floats | None = None
    patched_sd: Floats | None = None
    patched_sem: Floats | None = None
    effect_sem: Floats | None = None
    """Standard error of the mean effect, from each example's own effect."""
    reachable: NDArray[np.bool_] | None = None
    n_patched: Floats | None = None
    exact: Floats | None = None
    estimate: Floats | None = None
    verified: Floats | None = None
    verified_cells: list[list[int]] | None = None
    n_examples: int | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    normalization: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Block":
        """A block from the fields that the service sends."""
        label = data["metric"]
        arrays = {name: _numbers(data[name]) for name in ARRAY_FIELDS if data.get(name) is not None}
        for name in ("patched", "orig", "new"):
            arrays.setdefault(name, np.asarray(np.nan))
        reachable = arrays.pop("reachable", None)
        return cls(
            kind=label["kind"],
            unit=label["unit"],
            normalize=label.get("normalize", "none"),
            axes=tuple(data["axes"]),
            coordinates={name: list(values) for name, values in data["coordinates"].items()},
            metric=dict(label),
            reachable=None if reachable is None else reachable.astype(bool),
            verified_cells=data.get("verified_cells"),
            n_examples=data.get("n_examples"),
            summary=data.get("summary") or {},
            normalization=data.get("normalization"),
            **arrays,
        )

    def to_json(self) -> dict[str, Any]:
        """The block as the service sends it."""
        fields: dict[str, Any] = {
            "metric": {**self.metric, "kind": self.kind, "unit": self.unit, "normalize": self.normalize},
            "axes": list(self.axes),
            "shape": list(self.shape),
            "coordinates": self.coordinates,
            "n_examples": self.n_examples,
            "summary": self.summary,
            "normalization": self.normalization,
            "verified_cells": self.verified_cells,
        }
        arrays = {name: getattr(self, name) for name in ARRAY_FIELDS}
        return fields | {name: None if array is None else nested(array) for name, array in arrays.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``patched``."""
        return self.patched.shape

    @property
    def title(self) -> str:
        """The metric in words, with all that tells it from another of the job."""
        return str(self.metric.get("title") or self.kind.replace("_", " "))

    @property
    def effect(self) -> Floats:
        """Patched minus orig, shaped as ``patched``, in the metric's unit; 0 means that patching changed nothing."""
        orig: Any = self.orig
        if orig.ndim == 1 and "example" not in self.axes and orig.shape != self.patched.shape:
            orig = np.nanmean(orig)
        effect: Floats = self.patched - orig
        return effect

    @cached_property
    def exact_effect(self) -> Floats | None:
        """Of an estimate, the exact effects of the verified cells, NaN elsewhere; None where nothing was verified."""
        exact = self.on_cells("exact")
        return None if exact is None else exact - (self.patched - self.effect)

    def on_cells(self, name: str) -> NDArray[Any] | None:
        """One of ``CELL_FIELDS`` shaped as ``patched``: the same in every example; None where the result lacks it."""
        array = getattr(self, name)
        if array is None:
            return None
        wide = array[..., None] if "example" in self.axes and array.ndim == len(self.axes) - 1 else array
        return np.broadcast_to(wide, self.shape) if wide.ndim == len(self.shape) else None

    @property
    def n(self) -> int:
        """Number of examples."""
        if self.n_examples is not None:
            return self.n_examples
        counts = [stats["n"] for stats in self.summary.values() if stats]
        return int(counts[0]) if counts else max(self.orig.size, 1)

    def coordinates_of(self, index: Sequence[int]) -> dict[str, Any]:
        """The coordinates of one entry of ``patched``."""
        if self.axes == ("cell",):
            return {name: values[index[0]] for name, values in self.coordinates.items() if name != "cell"}
        return {axis: self.coordinates[axis][i] for axis, i in zip(self.axes, index, strict=True)}

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Every index of ``patched``, in row-major order."""
        return product(*map(range, self.shape))

    def strongest(self, count: int = 10) -> list[tuple[tuple[int, ...], float]]:
        """Indices and effects of the largest absolute effects, largest first; NaN and unreachable cells left out."""
        effect = self.effect
        if self.reachable is not None and self.reachable.shape == effect.shape:
            effect = np.where(self.reachable, effect, np.nan)
        size = np.nan_to_num(np.abs(effect), nan=-1.0).ravel()
        order = np.argsort(-size, kind="stable")[:count]
        places = [tuple(map(int, np.unravel_index(flat, effect.shape))) for flat in order if size[flat] >= 0]
        return [(place, float(effect[place])) for place in places]

    def name_of(self, index: Sequence[int], tokens: Sequence[str] | None = None) -> str:
        """One cell in words, such as ``9.6`` or ``9.6 → 10.7``."""
        return cell_name(self.coordinates_of(index), tokens)


def nested(array: NDArray[Any]) -> Any:
    """An array as JSON can say it: nested lists, with None where a number is not finite."""
    if array.dtype == np.bool_ or bool(np.isfinite(array).all()):
        return array.tolist()
    numbers = array.astype(object)
    numbers[~np.isfinite(array)] = None
    return numbers.tolist()
