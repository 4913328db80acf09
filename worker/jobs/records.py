"""What the phases of a job hand on, as records with named fields, and the one way to bytes and back.

Bytes are safetensors, with names in a fixed order: equal records are equal bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from worker.jobs.moments import Moments

Record = TypeVar("Record")
Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class MetricValues:
    """One metric of some examples, in some cells."""

    orig: Numbers
    """(example, receiver cell)"""
    new: Numbers
    """(example, receiver cell)"""
    patched: Numbers | None = None
    """(example, sender cell, receiver cell), where the result keeps one number per example."""
    patched_moments: Moments | None = None
    """(sender cell, receiver cell), where it does not."""
    effect_moments: Moments | None = None
    """Of patched minus orig, example by example."""

    @property
    def mean_effect(self) -> NDArray[np.float64]:
        """Patched minus orig, mean over the examples, per sender and receiver cell, in the metric's own unit."""
        if self.effect_moments is not None:
            return np.asarray(self.effect_moments.mean, dtype=np.float64)
        assert self.patched is not None
        effect: NDArray[np.float64] = self.patched.astype(np.float64) - self.orig.astype(np.float64)[:, None]
        return np.asarray(effect.mean(axis=0))


@dataclass(frozen=True, eq=False)
class Checks:
    """How far a shard's own checks are off; the worst shard counts."""

    identity: float = 0.0
    """Largest change of a metric when orig is patched with itself."""
    completeness: Numbers | None = None
    """Largest difference of logits when all writers are patched, and the largest logit; of the first example only."""
    dtype: float | None = None
    """Largest deviation of a metric from float32, where the arithmetic is another."""


@dataclass(frozen=True, eq=False)
class CellRange:
    """Which cells of the grid an output is of."""

    senders: tuple[int, int]
    receivers: tuple[int, int]


@dataclass(frozen=True, eq=False)
class SweepOutput:
    """What one shard, or several together, found in the cells of a grid."""

    n_examples: int
    start: int
    """Index of the first example in the whole dataset."""
    cells: CellRange
    metrics: list[MetricValues]
    checks: Checks
    patched_examples: NDArray[np.int32]
    """(sender cell, receiver cell): in how many examples the cell has a path at all."""
    is_reached: NDArray[np.int32]
    """Of each sender, whether it reaches a receiver in some example."""


@dataclass(frozen=True, eq=False)
class Means:
    """Mean over the dataset's new runs, or first its parts: sums and their counts, per position."""

    values: dict[str, Numbers] = field(default_factory=dict)
    """By ``mean_name``."""
    count: Numbers | None = None
    """Per position, in how many prompts it exists; None where the values are means already."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """What the estimates of an attribution leave for the phase that verifies the largest."""

    output: SweepOutput
    means: Means
    chosen: list[NDArray[np.int64]]
    """For each metric, the flat indices of the cells that are verified, largest estimated effect first."""

    @property
    def union(self) -> list[int]:
        """The cells to verify, of all metrics together."""
        return sorted({int(cell) for cells in self.chosen for cell in cells})


@dataclass(frozen=True, eq=False)
class Exact:
    """Sums over examples of the exact values of the verified cells."""

    n_examples: int
    sums: list[NDArray[np.float64]]
    """For each metric, in the order of ``Estimates.union``."""


def pack(record: Any) -> bytes:
    """The record as safetensors."""
    return pack_arrays(dict(_flat("", record)))


def pack_arrays(arrays: dict[str, Any]) -> bytes:
    """Numbers and arrays as safetensors, in a fixed order."""
    return save({name: np.array(arrays[name], order="C") for name in sorted(arrays)})


def unpack(kind: type[Record], content: bytes) -> Record:
    """The record of ``pack``; one with its defaults for no bytes."""
    found: Record = _built(kind, "", load(content) if content else {})
    return found


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every number and array with a path of field names, list indices and keys; what is None is left out."""
    if is_dataclass(value):
        for part in fields(value):
            yield from _flat(f"{name}/{part.name}", getattr(value, part.name))
    elif isinstance(value, list):
        yield f"{name}/length", np.int64(len(value))
        for index, part in enumerate(value):
            yield from _flat(f"{name}/{index}", part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield f"{name}/{key}", part
    elif value is not None:
        yield name, value


_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def _built(kind: Any, name: str, arrays: dict[str, Numbers]) -> Any:
    """What ``_flat`` took apart."""
    if get_origin(kind) is UnionType:
        here = any(path == name or path.startswith(f"{name}/") for path in arrays)
        return _built(get_args(kind)[0], name, arrays) if here else None
    if is_dataclass(kind):
        hints = _hints(kind)
        parts = {part.name: _built(hints[part.name], f"{name}/{part.name}", arrays) for part in fields(kind)}
        return kind(**{part: value for part, value in parts.items() if value is not None})  # type: ignore[operator]
    if get_origin(kind) is list:
        length = int(arrays[f"{name}/length"])
        return [_built(get_args(kind)[0], f"{name}/{index}", arrays) for index in range(length)]
    if get_origin(kind) is dict:
        prefix = f"{name}/"
        return {path.removeprefix(prefix): value for path, value in arrays.items() if path.startswith(prefix)}
    value = arrays.get(name)
    if value is None or kind not in (int, float):
        return tuple(value.tolist()) if get_origin(kind) is tuple and value is not None else value
    return kind(value)
