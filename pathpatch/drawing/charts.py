"""What a figure shows, before any library draws it: the same chart becomes a Plotly figure, an SVG or a PNG."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathpatch.drawing.captions import signed
from pathpatch.drawing.palette import BLUE, HATCH, RUN_COLOURS, VERMILION
from pathpatch.results.block import Floats

Labels = list[str]
MOST_NUMBERED_BARS = 40
MOST_NUMBERS_SIDE_BY_SIDE, _LARGE = 12, 0.1
"""With more bars side by side, only those of a tenth of the largest carry their number: others would overlap."""


@dataclass(frozen=True)
class Words:
    """The text of a chart. ``alt`` says in a sentence what it shows, for people who do not see it."""

    title: str
    caption: str
    alt: str


@dataclass(frozen=True, eq=False)
class Series:
    """Counts of one run in the bins of a histogram."""

    name: str
    counts: Floats
    mean: float


@dataclass(frozen=True, eq=False)
class Histogram:
    """Overlaid distributions over the examples; ``edges`` has one more entry than there are bins, and 0 among them."""

    words: Words
    value_label: str
    edges: Floats
    series: list[Series]


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Effects as a matrix; NaN where there is no path. ``limit`` is the end of the symmetric scale.

    The cells that ``is_marked`` show their number, or in a large matrix only their sign.
    """

    words: Words
    values: Floats
    row_names: Labels
    column_names: Labels
    row_label: str
    column_label: str
    colour_label: str
    cell_names: list[Labels]
    limit: float
    is_marked: NDArray[np.bool_]
    shows_numbers: bool


@dataclass(frozen=True, eq=False)
class Bars:
    """One bar per name; ``errors`` are standard errors. Many bars lie (``is_ranked``), strongest on top.

    Where bars are estimates, ``exact`` holds the exact effects, NaN where only the estimate is known.

    The bars are effects, coloured by their sign, or with ``shows_runs`` the means of the runs that they name.
    """

    words: Words
    names: Labels
    values: Floats
    errors: Floats | None
    name_label: str
    value_label: str
    is_ranked: bool
    shows_runs: bool = False
    exact: Floats | None = None

    @property
    def colours(self) -> Labels:
        """One per bar."""
        if self.shows_runs:
            return [RUN_COLOURS[name] for name in self.names]
        return [BLUE if value < 0 else VERMILION for value in self.values]

    @property
    def hatches(self) -> Labels:
        """One per bar, so that the colours are not needed."""
        if self.shows_runs:
            return [HATCH[name] for name in self.names]
        return ["/" if value < 0 else "" for value in self.values]

    @property
    def numbers(self) -> Labels:
        """What stands at the end of each bar, if they are few; of many side by side only the large ones have it."""
        if len(self.names) > MOST_NUMBERED_BARS:
            return []
        is_crowded = not self.is_ranked and len(self.names) > MOST_NUMBERS_SIDE_BY_SIDE
        least = _LARGE * float(np.abs(np.nan_to_num(self.values)).max()) if is_crowded else 0.0
        words = [f"{value:.3g}" if self.shows_runs else signed(value) for value in self.values]
        return [word if not abs(value) < least else "" for word, value in zip(words, self.values, strict=True)]

    @property
    def label_ends(self) -> list[float]:
        """Where each bar's number stands: beyond its error bar and its exact effect, on the side it points to."""
        if not self.numbers:
            return []
        lowest, highest = self._extents
        return [float(end) for end in np.where(self.values < 0, lowest, highest)]

    @property
    def reach(self) -> list[float]:
        """The value axis: 0, every bar with its error bar, every exact effect, and room for the numbers."""
        lowest, highest = self._extents
        low, high = (float(end) for end in (np.nanmin([*lowest, 0.0]), np.nanmax([*highest, 0.0])))
        room = ((high - low) or 1.0) * ((0.16 if self.is_ranked else 0.1) if self.numbers else 0.04)
        return [low - room if low < 0 else 0.0, high + room if high > 0 or low == 0 else 0.0]

    @property
    def _extents(self) -> tuple[Floats, Floats]:
        """Both ends of all that is drawn of each bar."""
        errors = np.zeros(len(self.values)) if self.errors is None else np.nan_to_num(self.errors)
        lowest, highest = self.values - errors, self.values + errors
        if self.exact is not None:
            lowest, highest = np.fmin(lowest, self.exact), np.fmax(highest, self.exact)
        return lowest, highest


@dataclass(frozen=True, eq=False)
class Scatter:
    """Orig against patched; a point on the diagonal did not change."""

    words: Words
    orig: Floats
    patched: Floats
    names: Labels
    unit: str


@dataclass(frozen=True)
class GraphNode:
    """A node of the circuit: ``height`` follows the forward pass upwards."""

    name: str
    column: float
    height: float


@dataclass(frozen=True)
class GraphEdge:
    """A patched edge, its effect, and the points (column, height) of its curve from sender to receiver.

    ``label_point`` is the point that carries the label.
    """

    name: str
    label: str
    effect: float
    curve: list[tuple[float, float]]
    label_point: tuple[float, float]


@dataclass(frozen=True)
class Graph:
    """The strongest edges as a circuit; width is the size of the effect, dashes mean negative."""

    words: Words
    nodes: list[GraphNode]
    edges: list[GraphEdge]
    effect_label: str


@dataclass(frozen=True, eq=False)
class Curve:
    """Faithfulness by size, with standard errors; the horizontal axis is logarithmic."""

    words: Words
    sizes: Floats
    values: Floats
    errors: Floats
    names: Labels
    size_label: str
    value_label: str

    @property
    def ticks(self) -> list[int]:
        """Sizes that are named on a logarithmic axis: all that have room beside those before."""
        found: list[int] = []
        for size in sorted({max(int(size), 1) for size in self.sizes}):
            if not found or size >= 1.3 * found[-1]:
                found.append(size)
        return found


@dataclass(frozen=True, eq=False)
class Ranks:
    """Estimates against exact values; a point on the diagonal is exact."""

    words: Words
    exact: Floats
    estimate: Floats
    names: Labels
    unit: str


Chart = Histogram | Heatmap | Bars | Scatter | Graph | Curve | Ranks
