"""How a figure is to look, where its own choice does not suit: title, axis labels, colour limit, size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

from pathpatch.drawing.charts import Chart, Heatmap

LARGEST_INCHES = 40.0
LONGEST_TEXT = 500
"""Characters of a title or label."""


class UnfitLook(ValueError):
    """An option of a figure's look that no figure, or not this one, can take."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}")
        self.option = option


@dataclass(frozen=True)
class Look:
    """Each is absent, for what the figure would have by itself, or what to draw instead."""

    title: str | None = None
    """Text above the figure; empty: none."""
    x_label: str | None = None
    """Text of the horizontal axis; empty: none."""
    y_label: str | None = None
    """Text of the vertical axis; empty: none."""
    colour_limit: float | None = None
    """End of a heatmap's symmetric scale, in the effect's unit: two figures with the same limit can be compared."""
    size: tuple[float, float] | None = None
    """Width and height in inches."""

    def __post_init__(self) -> None:
        for name in ("title", "x_label", "y_label"):
            text = getattr(self, name)
            if text is not None and (not isinstance(text, str) or len(text) > LONGEST_TEXT):
                raise UnfitLook(name, f"a text of at most {LONGEST_TEXT} characters, not {text!r:.60}")
        if self.colour_limit is not None and not _is_positive(self.colour_limit):
            raise UnfitLook("colour_limit", f"a number above 0, such as 0.5, not {self.colour_limit!r:.60}")
        if self.size is not None:
            _check_size(self.size)

    def applied(self, chart: Chart) -> Chart:
        """The chart with this title and limit.

        Raises:
            UnfitLook: A colour limit for a figure without a colour scale.
        """
        if self.title is not None:
            chart = replace(chart, words=replace(chart.words, title=self.title))
        if self.colour_limit is None:
            return chart
        if not isinstance(chart, Heatmap):
            name = type(chart).__name__.lower()
            raise UnfitLook("colour_limit", f"goes with a heatmap only, and this figure is of kind {name}")
        return replace(chart, limit=float(self.colour_limit))


LOOK_OPTIONS = tuple(field.name for field in fields(Look))
NO_LOOK = Look()


def taken_from(options: Mapping[str, Any]) -> tuple[Look, dict[str, Any]]:
    """The look among the options of a figure, and the other options.

    Raises:
        UnfitLook: A value that no figure can take.
    """
    look = Look(**{name: value for name, value in options.items() if name in LOOK_OPTIONS})
    return look, {name: value for name, value in options.items() if name not in LOOK_OPTIONS}


def _is_positive(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf


def _check_size(size: Any) -> None:
    is_pair = isinstance(size, list | tuple) and len(size) == 2
    if not is_pair or not all(_is_positive(inches) and 1 <= inches <= LARGEST_INCHES for inches in size):
        message = f"width and height in inches, each 1 to {LARGEST_INCHES:g}, such as (6, 4), not {size!r:.60}"
        raise UnfitLook("size", message)
