"""Results: numpy arrays with named axes, everything needed to trust them, and their pictures in one call."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pathpatch.cells import cell_name

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects as go
    import xarray

Floats = NDArray[np.float64]
ARRAY_FIELDS = (
    "patched", "patched_mean", "patched_sd", "patched_sem", "effect_sem", "orig", "new", "reachable", "n_patched",
    "exact", "estimate", "verified",
)  # fmt: skip
CELL_FIELDS = ("patched_mean", "patched_sd", "patched_sem", "effect_sem", "reachable", "n_patched", "exact")
"""Arrays over the cells, without an ``example`` axis."""
_HEAD_FIELDS = ("job_id", "unreachable_senders", "checks", "provenance", "timings", "warnings", "prompt_tokens")


class NotOneMetric(AttributeError):
    """A result with several metrics was asked for the arrays of one."""


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


@dataclass(frozen=True, eq=False)
class Result:
    """A job's result. With one metric its arrays are here too: ``result.patched``, ``result.effect``, ``result.axes``.

    With several metrics each has its own block: ``result["logit_diff"]`` (by kind or title) or ``result[0]``.
    """

    blocks: tuple[Block, ...]
    job_id: str = ""
    unreachable_senders: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    spec: dict[str, Any] | None = None
    prompt_tokens: list[str] | None = None
    """Tokens of the first orig prompt, to label positions with; known where positions were swept."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any], spec: Mapping[str, Any] | None = None) -> "Result":
        """A result from the JSON that ``GET /v1/jobs/{id}/result`` answers.

        Args:
            spec: The job's spec, for captions; by default the one saved with the result, if any.
        """
        said = spec if spec is not None else data.get("spec")
        head = {name: data[name] for name in _HEAD_FIELDS if name in data}
        blocks = tuple(Block.from_json(block) for block in data.get("blocks", [data]))
        return cls(blocks=blocks, spec=None if said is None else dict(said), **head)

    def to_json(self) -> dict[str, Any]:
        """The result as the service sends it, with its spec."""
        head = {name: getattr(self, name) for name in _HEAD_FIELDS}
        blocks = [block.to_json() for block in self.blocks]
        body = blocks[0] if len(blocks) == 1 else {"blocks": blocks}
        return body | head | ({} if self.spec is None else {"spec": self.spec})

    def __getitem__(self, metric: str | int) -> Block:
        if isinstance(metric, int):
            return self.blocks[metric]
        for block in self.blocks:
            if metric in (block.kind, block.title):
                return block
        raise KeyError(f"no metric {metric!r} in this result: it has {', '.join(block.title for block in self.blocks)}")

    @property
    def block(self) -> Block:
        """The only metric's block.

        Raises:
            NotOneMetric: There are several.
        """
        if len(self.blocks) != 1:
            titles = ", ".join(repr(block.title) for block in self.blocks)
            said = f"choose one, as result[...] with a title or a number: {titles}"
            raise NotOneMetric(f"this result has {len(self.blocks)} metrics: {said}")
        return self.blocks[0]

    @property
    def has_position_axis(self) -> bool:
        """Whether token positions were swept, by their numbers."""
        named = (values for block in self.blocks for name, values in block.coordinates.items() if "position" in name)
        return any(isinstance(value, int) for values in named for value in values)

    @property
    def patched(self) -> Floats:
        """The metric of the patched runs."""
        return self.block.patched

    @property
    def orig(self) -> Floats:
        """The metric of the orig run: shaped as ``patched``, or one value per example, or one mean."""
        return self.block.orig

    @property
    def new(self) -> Floats:
        """The metric of the new run, shaped as ``orig``."""
        return self.block.new

    @property
    def effect(self) -> Floats:
        """Patched minus orig, shaped as ``patched``; 0 means that patching changed nothing."""
        return self.block.effect

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of ``patched``."""
        return self.block.axes

    @property
    def coordinates(self) -> dict[str, list[Any]]:
        """Value at each index of each axis."""
        return self.block.coordinates

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``patched``."""
        return self.block.shape

    @property
    def summary(self) -> dict[str, Any]:
        """Statistics over the examples of ``patched``, ``orig`` and ``new``."""
        return self.block.summary

    def figure(self, **options: Any) -> "go.Figure":
        """The picture that fits the result; options as of :func:`pathpatch.figures.figure_for`."""
        from pathpatch.figures import figure_for

        return figure_for(self, **options)

    def histogram(self, **options: Any) -> "go.Figure":
        """Overlaid distributions of orig and patched over the examples, with a dashed line at 0."""
        return self.figure(kind="histogram", **options)

    def scatter(self, **options: Any) -> "go.Figure":
        """Each example's patched value against its orig."""
        return self.figure(kind="scatter", **options)

    def heatmap(self, **options: Any) -> "go.Figure":
        """Effects of a sweep on a diverging scale centred at 0; ``prompt_tokens`` labels positions."""
        return self.figure(kind="heatmap", **options)

    def bars(self, **options: Any) -> "go.Figure":
        """Effects of a sweep as bars, strongest first where there are many."""
        return self.figure(kind="bars", **options)

    def graph(self, strongest: int = 20, **options: Any) -> "go.Figure":
        """The strongest edges of a sweep as a circuit, layers upwards."""
        return self.figure(kind="graph", strongest=strongest, **options)

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row per entry of ``patched``: its coordinates, patched, orig, new and effect (needs pandas)."""
        from pathpatch.result_tables import to_dataframe

        return to_dataframe(self)

    def to_xarray(self) -> "xarray.Dataset":
        """The arrays with their named axes and coordinates (needs xarray)."""
        from pathpatch.result_tables import to_xarray

        return to_xarray(self)

    def save(self, path: str | Path) -> Path:
        """Write one ``.npz`` file (arrays, and the rest as JSON; no pickle) or, by its ending, one ``.json`` file."""
        from pathpatch.result_files import save

        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> "Result":
        """Read what :meth:`save` wrote, or the result that ``pathpatch result`` or curl saved."""
        from pathpatch.result_files import load

        return load(Path(path))

    def __repr__(self) -> str:
        from pathpatch.result_tables import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from pathpatch.result_tables import to_html

        return to_html(self)
