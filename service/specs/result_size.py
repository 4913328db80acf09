"""How large a result will be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api_schemas.errors import FieldError
from api_schemas.metrics import ATTENTION_METRICS
from api_schemas.nodes import SweepOf
from api_schemas.spec import JobSpec, PathPatch, TopCells
from service.specs.limits import Limits, knob
from service.specs.wording import counted, wrong

BYTES_PER_NUMBER = 13
"""A float32 in full precision, with its comma."""
BYTES_PER_FLAG = 6
HEAD_BYTES = 2000


@dataclass(frozen=True)
class ResultAxes:
    """Axes of a result's ``patched`` array."""

    names: list[str]
    lengths: list[int]


def result_axes(spec: JobSpec, names: Sequence[str], lengths: Sequence[int], examples: int) -> ResultAxes:
    """The axes of the cells, then ``example`` if asked for; with ``reduce: top`` one axis ``cell``."""
    if isinstance(spec.output.reduce, TopCells):
        return ResultAxes(["cell"], [min(spec.output.reduce.top, _product(lengths))])
    if spec.per_example:
        return ResultAxes([*names, "example"], [*lengths, examples])
    return ResultAxes([*names], [*lengths])


def estimated_result_bytes(spec: JobSpec, cell_lengths: Sequence[int], examples: int) -> int:
    """Size of the JSON result, roughly."""
    decimals = spec.output.decimals
    number = BYTES_PER_NUMBER if decimals is None else min(decimals + 4, BYTES_PER_NUMBER)
    cells = _product(cell_lengths)
    kept, coordinates = cells, sum(cell_lengths)
    if isinstance(spec.output.reduce, TopCells):
        kept = min(cells, spec.output.reduce.top)
        coordinates = kept * len(cell_lengths)
    total = HEAD_BYTES
    for metric in spec.all_metrics:
        own_head = isinstance(metric, ATTENTION_METRICS) and metric.head is None and _receivers_are_swept(spec)
        clean = 2 * (kept if own_head else 1)
        numbers = (kept + clean) * examples + 4 * kept if spec.per_example else 4 * kept + clean
        numbers += coordinates + (examples if spec.per_example else 0) + 4 * (spec.verify or 0)
        flags = kept * (1 if spec.verify is None else 2)  # reachable or not; verified or null
        total += HEAD_BYTES // 4 + number * numbers + BYTES_PER_FLAG * flags
    return total


def size_errors(spec: JobSpec, estimated_bytes: int, cells: int, examples: int, limits: Limits) -> Iterator[FieldError]:
    """A result that cannot fit, with what would make it smaller."""
    if estimated_bytes <= limits.max_result_bytes:
        return
    size = f"the result would take about {estimated_bytes / 2**20:,.0f} MiB ({counted(cells, 'cell')}"
    size += f" x {counted(examples, 'example')})" if spec.per_example else ")"
    allowed = f"at most {limits.max_result_bytes / 2**20:,.0f} MiB are allowed ({knob('max_result_bytes')})"
    if spec.per_example:
        advice = (
            'leave out per_example (mean, sd and sem are then given per cell), keep the largest cells with "reduce"'
        )
        yield wrong(("output", "per_example"), f"{size}; {allowed}: {advice}, or take fewer examples")
    else:
        advice = 'keep the largest cells with "reduce": {"top": k}, or take fewer cells or metrics'
        yield wrong(("output", "reduce"), f"{size}; {allowed}: {advice}")


def _receivers_are_swept(spec: JobSpec) -> bool:
    return isinstance(spec.patch, PathPatch) and isinstance(spec.patch.receivers, SweepOf)


def _product(lengths: Sequence[int]) -> int:
    total = 1
    for length in lengths:
        total *= length
    return total
