"""Charts as Plotly figures."""

from collections.abc import Callable
from html import escape
from itertools import pairwise
from textwrap import wrap
from typing import Any

import numpy as np
import plotly.graph_objects as go

from pathpatch.drawing.captions import caption_lines, signed
from pathpatch.drawing.charts import Bars, Chart, Curve, Graph, Heatmap, Histogram, Ranks, Scatter
from pathpatch.drawing.circuit_plotly import plotly_curve, plotly_ranks
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

SMALL_PRINT = '<br><span style="font-size:11px">'
"""What each line of the caption begins with, below the label of the horizontal axis."""
_CAPTION_COLUMNS = 100
_TITLE_COLUMNS = 70
_TOOLBAR_PX = 30
"""Height of plotly's toolbar, which the title keeps clear of."""
_LINE_PX = 22
_PX_PER_INCH = 96


def draw(chart: Chart, look: Look = NO_LOOK) -> go.Figure:
    """A chart as a Plotly figure; its description for those who do not see it is in ``layout.meta``.

    Raises:
        UnfitLook: A colour limit for a figure without a colour scale.
    """
    chart = look.applied(chart)
    figure = _DRAWN_BY[type(chart)](chart)
    title = wrap(chart.words.title, _TITLE_COLUMNS)
    figure.update_layout(
        template="plotly_white",
        title={
            "text": "<br>".join(escape(line, quote=False) for line in title), "x": 0.5, "xanchor": "center",
            "yref": "container", "y": 1, "yanchor": "top", "pad": {"t": _TOOLBAR_PX},
        },
        meta={"alt": chart.words.alt, "caption": chart.words.caption},
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 80, "r": 30, "t": _TOOLBAR_PX + _LINE_PX * len(title) + 24, "b": 60},
        paper_bgcolor="white",
        plot_bgcolor=UNREACHABLE if isinstance(chart, Heatmap) else "white",
        autosize=True,
    )  # fmt: skip
    figure.update_yaxes(automargin=True, exponentformat="power", showline=False)
    figure.update_xaxes(automargin=True, exponentformat="power", showline=False)
    _label(figure, look, chart.words.caption)
    if look.size is not None:
        figure.update_layout(width=round(look.size[0] * _PX_PER_INCH), height=round(look.size[1] * _PX_PER_INCH))
    return figure


def _label(figure: go.Figure, look: Look, caption: str) -> None:
    """The axes' titles, the caption below them."""
    if look.y_label is not None:
        figure.update_yaxes(title={"text": escape(look.y_label, quote=False)})
    own = figure.layout.xaxis.title.text or ""
    label = own if look.x_label is None else escape(look.x_label, quote=False)
    figure.update_xaxes(title={"text": label + _small_print(caption), "standoff": 12})


def _small_print(caption: str) -> str:
    """The caption below the axis's own title: plotly keeps both clear of the ticks, however long these are."""
    lines = [escape(line, quote=False) for line in caption_lines(caption, _CAPTION_COLUMNS)]
    return "".join(f"{SMALL_PRINT}{line}</span>" for line in lines)


def _histogram(chart: Histogram) -> go.Figure:
    centres = (chart.edges[:-1] + chart.edges[1:]) / 2
    width = float(np.diff(chart.edges[:2])[0])
    hover = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(chart.edges)]
    figure = go.Figure()
    for series in chart.series:
        colour = RUN_COLOURS[series.name]
        figure.add_bar(
            x=centres, y=series.counts, width=width, name=f"{series.name}, mean {series.mean:.3g}", opacity=0.65,
            marker={"color": colour, "line": {"color": colour, "width": 1}, "pattern": {"shape": HATCH[series.name]}},
            customdata=hover, hovertemplate=f"{series.name}: %{{y}} examples<br>%{{customdata}}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"dash": "dash", "color": INK, "width": 1.5})
    ends = [min(0.0, float(chart.edges[0])), max(0.0, float(chart.edges[-1]))]
    margin = 0.03 * (ends[1] - ends[0])
    reach = [ends[0] - margin, ends[1] + margin]
    figure.update_layout(
        barmode="overlay", bargap=0, height=500,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
        xaxis={"title": escape(chart.value_label, quote=False), "zeroline": False, "ticks": "outside", "range": reach},
        yaxis={"title": "number of examples"},
    )  # fmt: skip
    return figure


def _scatter(chart: Scatter) -> go.Figure:
    names = [escape(name, quote=False) for name in chart.names]
    finite = np.concatenate([chart.orig, chart.patched])
    finite = finite[np.isfinite(finite)]
    ends = [float(finite.min()), float(finite.max())] if finite.size else [0.0, 1.0]
    figure = go.Figure()
    line = {"color": GREY, "width": 1}
    figure.add_scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    figure.add_annotation(
        x=ends[0],
        y=ends[0],
        text="no change",
        showarrow=False,
        xanchor="left",
        xshift=8,
        yshift=-2,
        font={"color": GREY},
    )
    figure.add_scatter(
        x=chart.orig, y=chart.patched, mode="markers", customdata=names, showlegend=False,
        marker={"color": BLUE, "opacity": 0.5, "size": 7, "line": {"color": "white", "width": 0.5}},
        hovertemplate="%{customdata}<br>orig %{x:.4g}<br>patched %{y:.4g}<extra></extra>",
    )  # fmt: skip
    for add_line in (figure.add_vline, figure.add_hline):
        add_line(0, line={"dash": "dash", "color": INK, "width": 1})
    unit = escape(chart.unit, quote=False)
    figure.update_layout(
        height=640, xaxis={"title": f"orig ({unit})", "zeroline": False, "constrain": "domain"},
        yaxis={"title": f"patched ({unit})", "zeroline": False, "scaleanchor": "x", "constrain": "domain"},
    )  # fmt: skip
    return figure


def _heatmap(chart: Heatmap) -> go.Figure:
    rows, columns = chart.values.shape
    figure = go.Figure(
        go.Heatmap(
            z=chart.values, colorscale=DIVERGING, zmin=-chart.limit, zmax=chart.limit, zmid=0, hoverongaps=False,
            customdata=chart.cell_names, hovertemplate="%{customdata}<br>effect %{z:.4g}<extra></extra>",
            xgap=1 if columns <= 50 else 0, ygap=1 if rows <= 50 else 0,
            colorbar={
                "title": {"text": escape(chart.colour_label, quote=False), "side": "right"}, "thickness": 16,
                "exponentformat": "power",
            },
        )
    )  # fmt: skip
    _mark_cells(figure, chart)
    figure.update_layout(
        height=int(np.clip(34 * rows, 240, 760)) + 190,
        xaxis=_ticks(chart.column_names, chart.column_label, most=36) | {"range": [-0.5, columns - 0.5]},
        yaxis=_ticks(chart.row_names, chart.row_label, most=36) | {"range": [rows - 0.5, -0.5], "tickangle": 0},
    )
    return figure


def _mark_cells(figure: go.Figure, chart: Heatmap) -> None:
    """The strong cells' numbers, as large as cells allow, or in a large matrix their signs."""
    if chart.shows_numbers:
        numbers = np.where(chart.is_marked, np.vectorize(signed)(chart.values), "")
        figure.data[0].update(text=numbers, texttemplate="%{text}")
        return
    rows, columns = np.nonzero(chart.is_marked)
    effects = chart.values[rows, columns]
    colours = np.where(np.abs(effects) > 0.5 * chart.limit, "white", INK)
    figure.add_scatter(
        x=columns, y=rows, mode="markers", hoverinfo="skip", showlegend=False,
        marker={
            "symbol": np.where(effects > 0, "cross-thin-open", "line-ew-open").tolist(), "size": 7,
            "color": colours.tolist(), "line": {"width": 1.5},
        },
    )  # fmt: skip


def _ticks(names: list[str], label: str, most: int) -> dict[str, Any]:
    step = -(-len(names) // most)
    places = list(range(0, len(names), step))
    shown = [escape(names[place], quote=False) for place in places]
    turned = {"tickangle": -90} if len(shown) > 4 and sum(map(len, shown)) > 75 else {}
    ticks = {"tickvals": places, "ticktext": shown, "showgrid": False, "zeroline": False}
    return {"title": escape(label), **ticks, **turned}


def _bars(chart: Bars) -> go.Figure:
    along, across = ("y", "x") if chart.is_ranked else ("x", "y")
    places = np.arange(len(chart.names))
    errors = None if chart.errors is None else {"type": "data", "array": chart.errors, "color": INK}
    figure = go.Figure(go.Bar(**{
        along: places, across: chart.values, f"error_{across}": errors, "orientation": "h" if chart.is_ranked else "v",
        "customdata": [escape(name, quote=False) for name in chart.names], "showlegend": False,
        "marker": {"color": chart.colours, "pattern": {"shape": chart.hatches, "fgcolor": "white"}},
        "hovertemplate": f"%{{customdata}}<br>%{{{across}:.4g}}<extra></extra>",
    }))  # fmt: skip
    if chart.exact is not None:
        figure.add_scatter(**{
            along: places, across: chart.exact, "mode": "markers", "showlegend": False,
            "marker": {"symbol": "diamond-open", "color": INK, "size": 9, "line": {"width": 2}},
            "customdata": [escape(name, quote=False) for name in chart.names],
            "hovertemplate": f"%{{customdata}}<br>exact %{{{across}:.4g}}<extra></extra>",
        })  # fmt: skip
    for place, (number, end) in enumerate(zip(chart.numbers, chart.label_ends, strict=True)):
        if not number or not np.isfinite(end):
            continue
        is_below = chart.values[place] < 0
        if chart.is_ranked:
            beside = {"x": end, "y": place, "xanchor": "right" if is_below else "left", "xshift": -4 if is_below else 4}
        else:
            beside = {"x": place, "y": end, "yanchor": "top" if is_below else "bottom", "yshift": -3 if is_below else 3}
        figure.add_annotation(text=number, showarrow=False, font={"size": 11}, **beside)
    names = _ticks(chart.names, chart.name_label, most=60) | (
        {"autorange": "reversed", "tickangle": 0} if chart.is_ranked else {}
    )
    values = {
        "title": escape(chart.value_label, quote=False), "zeroline": True, "zerolinecolor": INK,
        "range": chart.reach,
    }  # fmt: skip
    axes = {f"{along}axis": names, f"{across}axis": values}
    height = 230 + 22 * len(chart.names) if chart.is_ranked else 480
    figure.update_layout(height=max(height, 320), **axes)
    return figure


def _graph(chart: Graph) -> go.Figure:
    figure = go.Figure()
    largest = max((abs(edge.effect) for edge in chart.edges), default=1.0) or 1.0
    for edge in chart.edges:
        columns, heights = zip(*edge.curve, strict=True)
        colour = VERMILION if edge.effect >= 0 else BLUE
        width = 1 + 5 * abs(edge.effect) / largest
        figure.add_scatter(
            x=columns, y=heights, mode="lines", hoverinfo="text", showlegend=False, opacity=0.85,
            text=escape(f"{edge.name}: {edge.effect:+.4g}", quote=False),
            line={"width": width, "color": colour, "dash": "solid" if edge.effect >= 0 else "6px,4px"},
        )  # fmt: skip
        if len(chart.edges) <= MOST_EDGE_LABELS:
            column, height = edge.label_point
            figure.add_annotation(
                x=column, y=height, text=edge.label, showarrow=False, bgcolor="rgba(255,255,255,0.8)",
                font={"size": 10, "color": colour},
            )  # fmt: skip
    for node in chart.nodes:
        figure.add_annotation(
            x=node.column, y=node.height, text="<br>".join(wrap(escape(node.name, quote=False), 30)), showarrow=False,
            bgcolor="white", bordercolor=INK, borderpad=4, font={"color": INK},
        )  # fmt: skip
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False, "showline": False, "ticks": ""}
    levels = len({node.height for node in chart.nodes})
    places = [node.column for node in chart.nodes] or [0.0]
    reach = [min(places) - 0.6, max(places) + 0.6]
    figure.update_layout(
        height=int(np.clip(85 * levels, 320, 1000)) + 160, yaxis=hidden, xaxis=hidden | {"range": reach}
    )
    return figure


_DRAWN_BY: dict[type[Any], Callable[[Any], go.Figure]] = {
    Histogram: _histogram, Scatter: _scatter, Heatmap: _heatmap, Bars: _bars, Graph: _graph,
    Curve: plotly_curve, Ranks: plotly_ranks,
}  # fmt: skip
