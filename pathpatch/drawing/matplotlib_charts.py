"""Charts as matplotlib figures, for papers: no browser, no display."""

from collections.abc import Callable
from io import BytesIO
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from pathpatch.drawing.captions import caption_lines, signed
from pathpatch.drawing.charts import Bars, Chart, Curve, Graph, Heatmap, Histogram, Ranks, Scatter
from pathpatch.drawing.circuit_matplotlib import matplotlib_curve, matplotlib_ranks
from pathpatch.drawing.look import NO_LOOK, Look
from pathpatch.drawing.palette import (
    BLUE,
    DIVERGING,
    GREY,
    HATCH,
    INK,
    MOST_EDGE_LABELS,
    RUN_COLOURS,
    UNREACHABLE,
    VERMILION,
)  # fmt: skip

_DIVERGING = LinearSegmentedColormap.from_list("effect", DIVERGING).with_extremes(bad=UNREACHABLE)
_FONT_SIZE = 9
_CAPTION_COLUMNS_PER_INCH = 15
_TITLE_COLUMNS_PER_INCH = 11


class Picture(Figure):
    """A matplotlib figure that a notebook shows, also where pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def draw(chart: Chart, look: Look = NO_LOOK) -> Picture:
    """A chart as a matplotlib figure with one axes (and a heatmap's colour bar), to change and to save.

    Raises:
        UnfitLook: A colour limit for a figure without a colour scale.
    """
    chart = look.applied(chart)
    figure = Picture(figsize=look.size or _size(chart), layout="constrained")
    axes = figure.subplots()
    _DRAWN_BY[type(chart)](axes, chart)
    if look.x_label is not None:
        axes.set_xlabel(_plain(look.x_label))
    if look.y_label is not None:
        axes.set_ylabel(_plain(look.y_label))
    if chart.words.title:
        title = fill(chart.words.title, int(_TITLE_COLUMNS_PER_INCH * figure.get_figwidth()))
        figure.suptitle(_plain(title), fontsize=_FONT_SIZE + 3)
    figure.supxlabel(
        _plain("\n".join(caption_lines(chart.words.caption, _caption_columns(figure)))),
        fontsize=_FONT_SIZE - 1.5,
        color=INK,
    )
    return figure


def _caption_columns(figure: Figure) -> int:
    return int(_CAPTION_COLUMNS_PER_INCH * figure.get_figwidth())


def _plain(text: str) -> str:
    """Text that matplotlib takes as it is: a dollar sign would start a formula."""
    return text.replace("$", r"\$")


def _size(chart: Chart) -> tuple[float, float]:
    """Inches."""
    match chart:
        case Heatmap():
            rows, columns = chart.values.shape
            return float(np.clip(0.42 * columns + 2.6, 6.5, 12)), float(np.clip(0.34 * rows + 1.9, 3.4, 11))
        case Bars(is_ranked=True):
            return 7.0, float(np.clip(0.24 * len(chart.names) + 1.5, 3.0, 14))
        case Bars():
            return float(np.clip(0.28 * len(chart.names) + 2.5, 6.5, 12)), 4.2
        case Graph():
            return 8.0, float(np.clip(0.8 * len({node.height for node in chart.nodes}) + 1.5, 3.5, 11))
        case Scatter():
            return 6.2, 6.4
        case _:
            return 7.2, 4.6


def _histogram(axes: Axes, chart: Histogram) -> None:
    for series in chart.series:
        axes.stairs(
            series.counts, chart.edges, fill=True, facecolor=RUN_COLOURS[series.name], edgecolor=INK, alpha=0.6,
            hatch=HATCH[series.name] * 3, linewidth=0.6, label=f"{series.name}, mean {series.mean:.3g}",
        )  # fmt: skip
    axes.axvline(0, color=INK, linestyle="--", linewidth=1.2)
    axes.set_xlabel(_plain(chart.value_label))
    axes.set_ylabel("number of examples")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _scatter(axes: Axes, chart: Scatter) -> None:
    axes.axline((0, 0), slope=1, color=GREY, linewidth=1, label="no change")
    axes.axhline(0, color=INK, linestyle="--", linewidth=0.8)
    axes.axvline(0, color=INK, linestyle="--", linewidth=0.8)
    axes.scatter(
        chart.orig, chart.patched, s=14, color=BLUE, alpha=0.5, linewidths=0, rasterized=chart.orig.size > 5000
    )
    axes.set_xlabel(_plain(f"orig ({chart.unit})"))
    axes.set_ylabel(_plain(f"patched ({chart.unit})"))
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(frameon=False)


def _heatmap(axes: Axes, chart: Heatmap) -> None:
    image = axes.imshow(
        np.ma.masked_invalid(chart.values), cmap=_DIVERGING, norm=Normalize(-chart.limit, chart.limit), aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    for row, column in np.argwhere(chart.is_marked):
        value = chart.values[row, column]
        colour = "white" if abs(value) > 0.6 * chart.limit else INK
        if chart.shows_numbers:
            size = _number_size(chart)
            axes.text(column, row, signed(value), ha="center", va="center", fontsize=size, color=colour)
        else:
            axes.plot(column, row, marker="+" if value > 0 else "_", markersize=5, color=colour)
    _ticks(axes.set_xticks, chart.column_names, most=40, upright=False)
    _ticks(axes.set_yticks, chart.row_names, most=40, upright=True)
    axes.set_xlabel(chart.column_label)
    axes.set_ylabel(chart.row_label)
    colour_bar = axes.get_figure().colorbar(image, ax=axes, fraction=0.04, pad=0.02)  # type: ignore[union-attr]
    colour_bar.set_label(_plain(fill(chart.colour_label, 46)))


def _number_size(chart: Heatmap) -> float:
    return float(np.clip(90 / chart.values.shape[1], 4.0, 7.5))


def _ticks(set_ticks: Callable[..., Any], names: list[str], most: int, upright: bool) -> None:
    step = -(-len(names) // most)
    places = list(range(0, len(names), step))
    shown = [_plain(names[place]) for place in places]
    is_long = not upright and len(places) > 4 and sum(map(len, shown)) > 60
    set_ticks(places, shown, rotation=90 if is_long else 0)


def _bars(axes: Axes, chart: Bars) -> None:
    places = np.arange(len(chart.names))
    errors = None if chart.errors is None else np.nan_to_num(chart.errors)
    style: dict[str, Any] = {"color": chart.colours, "ecolor": INK, "capsize": 2, "edgecolor": "white"}
    if chart.is_ranked:
        drawn = axes.barh(places, chart.values, xerr=errors, **style)
        axes.invert_yaxis()
        axes.set_yticks(places, [_plain(name) for name in chart.names])
        axes.set_xlabel(_plain(chart.value_label))
        axes.axvline(0, color=INK, linewidth=0.8)
    else:
        drawn = axes.bar(places, chart.values, yerr=errors, **style)
        _ticks(axes.set_xticks, chart.names, most=60, upright=False)
        axes.set_xlabel(chart.name_label)
        axes.set_ylabel(_plain(fill(chart.value_label, 48)))
        axes.axhline(0, color=INK, linewidth=0.8)
    for bar, hatch in zip(drawn, chart.hatches, strict=True):
        bar.set_hatch(hatch * 3)
    if chart.exact is not None:
        points = (chart.exact, places) if chart.is_ranked else (places, chart.exact)
        axes.plot(*points, linestyle="", marker="D", markersize=5, markerfacecolor="none", markeredgecolor=INK)
    if chart.numbers:
        axes.bar_label(drawn, chart.numbers, fontsize=7, padding=2)
        axes.margins(x=0.12) if chart.is_ranked else axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def _graph(axes: Axes, chart: Graph) -> None:
    largest = max((abs(edge.effect) for edge in chart.edges), default=1.0) or 1.0
    for edge in chart.edges:
        colour, dashes = (VERMILION, "-") if edge.effect >= 0 else (BLUE, (0, (2.2, 1.2)))
        axes.plot(
            *zip(*edge.curve, strict=True), zorder=1, color=colour, linestyle=dashes,
            linewidth=0.7 + 3.5 * abs(edge.effect) / largest, alpha=0.85,
        )  # fmt: skip
        if len(chart.edges) <= MOST_EDGE_LABELS:
            column, height = edge.label_point
            background = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
            style: dict[str, Any] = {"fontsize": 6, "color": colour, "ha": "center", "va": "center", "bbox": background}
            axes.text(column, height, edge.label, **style, in_layout=False, zorder=1.5)
    for node in chart.nodes:
        axes.text(
            node.column, node.height, _plain(fill(node.name, 30)), ha="center", va="center", fontsize=7.5, zorder=2,
            in_layout=False,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": INK, "linewidth": 0.8},
        )  # fmt: skip
    axes.margins(x=0.12, y=0.06)
    axes.set_axis_off()


_DRAWN_BY: dict[type[Any], Callable[[Axes, Any], None]] = {
    Histogram: _histogram, Scatter: _scatter, Heatmap: _heatmap, Bars: _bars, Graph: _graph,
    Curve: matplotlib_curve, Ranks: matplotlib_ranks,
}  # fmt: skip
