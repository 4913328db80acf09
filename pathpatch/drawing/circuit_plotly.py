"""Charts of circuit jobs as Plotly figures."""

from html import escape

import numpy as np
import plotly.graph_objects as go

from pathpatch.drawing.charts import Curve, Ranks
from pathpatch.drawing.palette import BLUE, GREY, INK

SHADE = "rgba(0,114,178,0.12)"


def plotly_curve(chart: Curve) -> go.Figure:
    """Faithfulness with error bars; the area under it, which is CPR on a linear axis, is shaded."""
    shown = np.maximum(chart.sizes, 1)  # a logarithm has no 0
    figure = go.Figure()
    figure.add_scatter(
        x=shown, y=chart.values, mode="lines+markers", fill="tozeroy", fillcolor=SHADE, showlegend=False,
        line={"color": BLUE, "width": 2}, marker={"size": 7},
        customdata=[escape(name, quote=False) for name in chart.names],
        error_y={"type": "data", "array": np.nan_to_num(chart.errors), "color": INK},
        hovertemplate="%{customdata}<br>faithfulness %{y:.4g}<extra></extra>",
    )  # fmt: skip
    for height in (0.0, 1.0):
        figure.add_hline(height, line={"dash": "dash", "color": GREY, "width": 1})
    figure.update_layout(
        height=480,
        xaxis={
            "title": escape(chart.size_label, quote=False), "type": "log",
            "tickvals": chart.ticks, "ticktext": [f"{size:,}" for size in chart.ticks],
        },
        yaxis={"title": escape(chart.value_label, quote=False), "zeroline": False},
    )  # fmt: skip
    return figure


def plotly_ranks(chart: Ranks) -> go.Figure:
    """Estimates over exact scores."""
    both = np.concatenate([chart.exact, chart.estimate])
    both = both[np.isfinite(both)]
    ends = [float(both.min()), float(both.max())] if both.size else [0.0, 1.0]
    figure = go.Figure()
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip", showlegend=False
    )
    figure.add_scatter(
        x=chart.exact, y=chart.estimate, mode="markers", showlegend=False,
        marker={"color": BLUE, "opacity": 0.6, "size": 8, "line": {"color": "white", "width": 0.5}},
        customdata=[escape(name, quote=False) for name in chart.names],
        hovertemplate="%{customdata}<br>exact %{x:.4g}<br>estimate %{y:.4g}<extra></extra>",
    )  # fmt: skip
    for add_line in (figure.add_vline, figure.add_hline):
        add_line(0, line={"dash": "dash", "color": INK, "width": 1})
    unit = escape(chart.unit, quote=False)
    figure.update_layout(
        height=600, xaxis={"title": f"exact score ({unit})", "zeroline": False},
        yaxis={"title": f"estimated score ({unit})", "zeroline": False},
    )  # fmt: skip
    return figure
