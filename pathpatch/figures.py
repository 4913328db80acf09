"""Results as Plotly figures: one place for notebooks, the command line, the service and its page.

Every figure can be read without colour: histograms are hatched, strong cells carry their number, negative edges are
dashed. Colours are those of Okabe and Ito, which colour-blind eyes tell apart. Below each figure stands one line with
n, the model and the spec. :mod:`pathpatch.static_figures` draws the same charts as PDF, SVG or PNG without a browser.
"""

from collections.abc import Sequence
from html import escape, unescape
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from pathpatch.drawing.captions import plain
from pathpatch.drawing.charting import KINDS, FigureDoesNotFit, build, fitting_kind, kinds_of, subject_of
from pathpatch.drawing.circuit_job import circuit_chart, data_of, is_circuit_result
from pathpatch.drawing.circuit_job import kinds_of as circuit_kinds
from pathpatch.drawing.look import UnfitLook, taken_from
from pathpatch.drawing.plotly_charts import SMALL_PRINT, draw

__all__ = [
    "KINDS", "FigureDoesNotFit", "UnfitLook", "bars", "circuit_graph", "draw", "edge_matrix", "figure_for",
    "fitting_kind", "head_heatmap", "histogram", "position_heatmap", "scatter", "to_html", "to_json", "top_cells",
]  # fmt: skip

_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:1rem}h1{font-size:1.15rem;font-weight:500;margin:0}"
    "h1,p{text-align:center}p{font-size:.8rem;color:#545b64}"
)
_CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": ""}


def figure_for(
    result: Any,
    spec: Any = None,
    prompt_tokens: Sequence[str] | None = None,
    kind: str | None = None,
    block: int | str = 0,
    **options: Any,
) -> go.Figure:
    """The figure that fits a result: histogram, heatmap, bars, graph or scatter.

    Args:
        result: A :class:`pathpatch.Result` or the JSON that the service answers.
        spec: The job's spec, for titles and caption; by default the one that the result carries.
        prompt_tokens: Tokens of a prompt, to label positions with.
        kind: One of ``KINDS``, to choose another figure than the fitting one.
        block: Index or kind of the metric, where there are several.
        **options: ``title``, ``x_label``, ``y_label`` (empty: none), ``colour_limit`` (end of a heatmap's scale),
            ``size`` (width and height in inches); ``strongest`` of bars and graphs: how many.

    Raises:
        FigureDoesNotFit: The result's axes cannot fill that kind.
        UnfitLook: An option has a value that the figure cannot take.
    """
    look, rest = taken_from(options)
    if is_circuit_result(result):
        data, said = data_of(result), plain(spec) if spec is not None else getattr(result, "spec", None)
        figure = draw(circuit_chart(data, said, kind, **rest), look)
        figure.update_layout(meta={**figure.layout.meta, "kinds": circuit_kinds(data)})
        return figure
    subject = subject_of(result, spec, prompt_tokens, block)
    figure = draw(build(subject, kind, **rest), look)
    figure.update_layout(meta={**figure.layout.meta, "kinds": kinds_of(subject.block)})
    return figure


def histogram(result: Any, spec: Any = None, **options: Any) -> go.Figure:
    """Overlaid distributions of orig and patched over the examples, with a dashed line at 0."""
    return figure_for(result, spec, kind="histogram", **options)


def head_heatmap(result: Any, spec: Any = None, **options: Any) -> go.Figure:
    """Effects by layer and head, centred at 0; each head's name, such as 9.6, on hover."""
    return figure_for(result, spec, kind="heatmap", **options)


def position_heatmap(
    result: Any, spec: Any = None, prompt_tokens: Sequence[str] | None = None, **options: Any
) -> go.Figure:
    """Effects by layer and position, with the prompt's tokens as ticks."""
    return figure_for(result, spec, prompt_tokens, kind="heatmap", **options)


def edge_matrix(result: Any, spec: Any = None, **options: Any) -> go.Figure:
    """Effects of every edge: receivers as rows, senders as columns."""
    return figure_for(result, spec, kind="heatmap", **options)


def circuit_graph(result: Any, spec: Any = None, strongest: int = 20, **options: Any) -> go.Figure:
    """The strongest edges as a circuit, in the order of the forward pass upwards."""
    return figure_for(result, spec, kind="graph", strongest=strongest, **options)


def scatter(result: Any, spec: Any = None, **options: Any) -> go.Figure:
    """Each example's patched value against its orig; the diagonal is no change."""
    return figure_for(result, spec, kind="scatter", **options)


def bars(result: Any, spec: Any = None, **options: Any) -> go.Figure:
    """Effects along one axis, or the means of the runs of one cell."""
    return figure_for(result, spec, kind="bars", **options)


def top_cells(result: Any, spec: Any = None, strongest: int = 30, **options: Any) -> go.Figure:
    """The cells of largest absolute effect, ranked."""
    return figure_for(result, spec, kind="bars", strongest=strongest, **options)


def to_json(figure: go.Figure) -> str:
    """The figure as Plotly JSON; numbers that are not finite are null."""
    text: str = pio.to_json(figure, validate=False, engine="json")
    return text


def to_html(figure: go.Figure, title: str | None = None) -> str:
    """One HTML file that needs nothing else: plotly.js is inside, and no other host is asked for anything.

    Title and caption are text of the page, so that they break where it is narrow. The same figure gives the same bytes.
    """
    meta = figure.layout.meta or {}
    bare, heading, caption = _without_words(figure)
    body = pio.to_html(
        bare, config=_CONFIG, include_plotlyjs=True, full_html=False, default_width="100%", div_id="figure"
    )
    name = escape(title or heading or "pathpatch")
    alt = escape(str(meta.get("alt", name)))
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{name}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"></head>\n'
        f"<style>{_STYLE}</style>\n"
        f'<body><h1>{escape(heading)}</h1><main role="img" aria-label="{alt}">{body}</main>'
        f"<p>{escape(caption)}</p></body>\n</html>\n"
    )


def _without_words(figure: go.Figure) -> tuple[go.Figure, str, str]:
    """A copy without title and caption, and these as plain text."""
    bare = go.Figure(figure)
    heading = unescape((figure.layout.title.text or "").replace("<br>", " "))
    label, mark, _ = (figure.layout.xaxis.title.text or "").partition(SMALL_PRINT)
    caption = str((figure.layout.meta or {}).get("caption", "")) if mark else ""
    bare.update_layout(title_text="", margin_t=84 if len(figure.data) > 1 and figure.layout.legend.orientation else 40)
    bare.update_xaxes(title_text=label)
    return bare, heading, caption
