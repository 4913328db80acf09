"""From a result to the chart that fits it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pathpatch.drawing.captions import plain
from pathpatch.drawing.charts import Chart
from pathpatch.drawing.circuit_job import KINDS as CIRCUIT_KINDS
from pathpatch.drawing.distributions import histogram, scatter
from pathpatch.drawing.effects import bars, graph, heatmap, row_axes
from pathpatch.drawing.subject import FigureDoesNotFit, Subject, averaged
from pathpatch.results.block import Block
from pathpatch.results.cells import part_of
from pathpatch.results.data import ResultData

__all__ = ["KINDS", "FigureDoesNotFit", "build", "chart_for", "fitting_kind", "kinds_of", "subject_of"]


@dataclass(frozen=True)
class Need:
    """What a kind of chart asks of a block."""

    words: str
    is_met_by: Callable[[Block], bool]


NEEDS = {
    "histogram": Need(
        "the single axis example (one cell, with per_example)", lambda block: tuple(block.axes) == ("example",)
    ),
    "scatter": Need(
        "one orig value per point (per_example, or a metric per cell)",
        lambda block: bool(block.axes) and block.orig.shape == block.shape,
    ),
    "heatmap": Need("a sweep of two axes or more", lambda block: len(averaged(block).axes) >= 2),
    "graph": Need("a sweep", lambda block: tuple(averaged(block).axes) not in ((), ("example",))),
}
"""Kind -> what it needs; bars fit every block."""
_MOST_CELLS = 250_000
_MOST_COLUMNS = 400


def fitting_kind(block: Block) -> str:
    """The kind of chart that shows a block best."""
    axes = tuple(axis for axis in block.axes if axis != "example") or block.axes
    if axes == ("example",):
        return "histogram"
    if len(axes) < 2 or axes == ("cell",):
        return "bars"
    sizes = [len(block.coordinates[axis]) for axis in axes]
    _, columns = row_axes(axes)
    too_wide = part_of(axes[-1]) == "neuron" and len(columns) == 1 and sizes[-1] > _MOST_COLUMNS
    return "bars" if too_wide or int(np.prod(sizes)) > _MOST_CELLS else "heatmap"


_BUILDERS: dict[str, Callable[..., Chart]] = {
    "histogram": histogram, "scatter": scatter, "heatmap": heatmap, "bars": bars, "graph": graph,
}  # fmt: skip
KINDS = tuple(_BUILDERS)


def kinds_of(block: Block) -> list[str]:
    """The kinds of chart that a block can fill."""
    return [kind for kind in KINDS if kind not in NEEDS or NEEDS[kind].is_met_by(block)]


def subject_of(
    result: Any, spec: Any = None, prompt_tokens: Sequence[str] | None = None, block: int | str = 0
) -> Subject:
    """What a figure of a result (a ``Result`` or the service's JSON) is about."""
    whole = result if isinstance(result, ResultData) else ResultData.from_json(result)
    said = plain(spec) if spec is not None else whole.spec
    tokens = prompt_tokens if prompt_tokens is not None else whole.prompt_tokens
    return Subject(whole, whole[block], said, tokens)


def build(subject: Subject, kind: str | None = None, **options: Any) -> Chart:
    """The chart of a subject, of the fitting kind or the one asked for.

    Raises:
        FigureDoesNotFit: The result's axes cannot fill that kind.
        ValueError: There is no such kind.
    """
    name = kind or fitting_kind(subject.block)
    if name in CIRCUIT_KINDS:
        raise FigureDoesNotFit(name, subject.block.axes, "a circuit job")
    if name not in _BUILDERS:
        raise ValueError(f"no figure kind {name!r}: it is one of {', '.join(KINDS)}")
    if name in NEEDS and not NEEDS[name].is_met_by(subject.block):
        raise FigureDoesNotFit(name, subject.block.axes, NEEDS[name].words)
    return _BUILDERS[name](subject, **options)


def chart_for(
    result: Any,
    spec: Any = None,
    prompt_tokens: Sequence[str] | None = None,
    kind: str | None = None,
    block: int | str = 0,
    **options: Any,
) -> Chart:
    """The chart of a result, of the fitting kind or the one asked for; errors as of :func:`build`."""
    return build(subject_of(result, spec, prompt_tokens, block), kind, **options)
