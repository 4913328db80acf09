"""Figures of results, drawn in the short-lived process of :mod:`service.results.rendering`."""

from typing import Literal

import orjson

Kind = Literal["histogram", "heatmap", "bars", "graph", "scatter"]

PLOTLY_JSON = "application/json"
HTML = "text/html"
SVG = "image/svg+xml"
FORMATS = (PLOTLY_JSON, HTML, SVG)


def draw(
    result: bytes, spec: bytes, prompt_tokens: list[str] | None, media: str, kind: str | None, block: int
) -> bytes:
    """The figure of a result, as one of ``FORMATS``; positions are labelled with ``prompt_tokens``, if given.

    Raises:
        FigureDoesNotFit: The result cannot fill that kind of figure.
    """
    whole, said = orjson.loads(result), orjson.loads(spec)
    if media == SVG:
        from pathpatch.static_figures import static_figure_for

        return static_figure_for(whole, said, prompt_tokens, kind, block)
    from pathpatch.figures import figure_for, to_html, to_json

    figure = figure_for(whole, said, prompt_tokens, kind, block)
    return (to_html(figure) if media == HTML else to_json(figure)).encode()
