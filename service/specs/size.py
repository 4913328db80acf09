"""How many cells a spec has, how large its result will be, and whether both are allowed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from api_schemas.circuits import CircuitPatch
from api_schemas.errors import FieldError
from api_schemas.metrics import ATTENTION_METRICS
from api_schemas.nodes import SweepOf
from api_schemas.spec import JobSpec, PathPatch, TopCells
from api_schemas.wording.values import counted, wrong
from planning.architecture import Architecture
from planning.circuit import edge_count
from planning.grid import axes_of, sweep_sizes
from service.specs.circuits import circuit_bytes, listed_edges
from service.specs.comparison import Path, ends_of
from service.specs.limits import SpecLimits, knob

BYTES_PER_NUMBER = 13
"""A float32 in full precision, with its comma."""
BYTES_PER_FLAG = 6
FIXED_BYTES = 2000
"""Of everything but the arrays."""


def cell_errors(spec: JobSpec, architecture: Architecture, longest: int, limits: SpecLimits) -> Iterator[FieldError]:
    """A sweep of too many cells.

    Args:
        longest: Tokens of the longest prompt.
    """
    if isinstance(spec.patch, CircuitPatch):
        return
    cells = sweep_sizes(spec.patch, architecture, longest)
    if cells > limits.max_cells:
        swept = [field for field, end in ends_of(spec.patch).items() if isinstance(end, SweepOf)]
        if isinstance(spec.patch, PathPatch) and spec.patch.paths is not None:
            swept = ["paths"]
        path: Path = ("patch", *swept, *(["sweep"] if swept != ["paths"] else [])) if len(swept) == 1 else ("patch",)
        advice = "sweep fewer layers, heads, neurons or positions"
        allowed = f"at most {limits.max_cells:,} are allowed ({knob('max_cells')})"
        yield wrong(path, f"the sweep has {counted(cells, 'cell')}, and {allowed}: {advice}")


@dataclass(frozen=True)
class ResultSize:
    """Axes of a result's ``patched`` array, and what the whole takes."""

    cells: int
    axes: list[str]
    shape: list[int]
    bytes: int
    """Of the result as JSON, roughly."""

    @classmethod
    def of(cls, spec: JobSpec, architecture: Architecture, longest: int, examples: int) -> "ResultSize":
        """The axes of the cells, then ``example`` if asked for; with ``reduce: top`` one axis ``cell``."""
        if isinstance(spec.patch, CircuitPatch):
            size = FIXED_BYTES + circuit_bytes(spec, spec.patch, architecture, examples)
            n_edges = edge_count(architecture)
            return cls(n_edges, ["edge"], [listed_edges(spec, n_edges)], size)
        axes = axes_of(spec.patch, architecture, longest)
        names, lengths = [axis.name for axis in axes], [len(axis.coordinates) for axis in axes]
        cells, size = prod(lengths), _estimated_bytes(spec, lengths, examples)
        if isinstance(spec.output.reduce, TopCells):
            return cls(cells, ["cell"], [min(spec.output.reduce.top, cells)], size)
        if spec.per_example:
            return cls(cells, [*names, "example"], [*lengths, examples], size)
        return cls(cells, names, lengths, size)

    def errors(self, spec: JobSpec, examples: int, limits: SpecLimits) -> Iterator[FieldError]:
        """A result that cannot fit, with what would make it smaller."""
        if self.bytes <= limits.max_result_bytes:
            return
        times = f" x {counted(examples, 'example')}" if spec.per_example else ""
        size = f"the result would take about {self.bytes / 2**20:,.0f} MiB ({counted(self.cells, 'cell')}{times})"
        allowed = f"at most {limits.max_result_bytes / 2**20:,.0f} MiB are allowed ({knob('max_result_bytes')})"
        advice = 'keep the largest cells with "reduce": {"top": k}, or take fewer cells or metrics'
        if spec.per_example:
            advice = "leave out per_example (mean, sd and sem are then given per cell), "
            advice += 'keep the largest cells with "reduce", or take fewer examples'
        yield wrong(("output", "per_example" if spec.per_example else "reduce"), f"{size}; {allowed}: {advice}")


def _estimated_bytes(spec: JobSpec, cell_lengths: Sequence[int], examples: int) -> int:
    decimals = spec.output.decimals
    number = BYTES_PER_NUMBER if decimals is None else min(decimals + 4, BYTES_PER_NUMBER)
    kept, coordinates = prod(cell_lengths), sum(cell_lengths)
    if isinstance(spec.output.reduce, TopCells):
        kept = min(kept, spec.output.reduce.top)
        coordinates = kept * len(cell_lengths)
    receivers_are_swept = isinstance(spec.patch, PathPatch) and isinstance(spec.patch.ends, SweepOf)
    total = FIXED_BYTES
    for metric in spec.all_metrics:
        own_head = isinstance(metric, ATTENTION_METRICS) and metric.head is None and receivers_are_swept
        clean = 2 * (kept if own_head else 1)
        numbers = (kept + clean) * examples + 4 * kept if spec.per_example else 4 * kept + clean
        numbers += coordinates + (examples if spec.per_example else 0) + 4 * (spec.verify or 0)
        flags = kept * (1 if spec.verify is None else 2)  # reachable or not; verified or null
        total += FIXED_BYTES // 4 + number * numbers + BYTES_PER_FLAG * flags
    return total
