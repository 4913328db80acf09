"""Figures of results, drawn in the short-lived process of :mod:`service.results.rendering`."""

from importlib import import_module
from typing import Any, Literal

import orjson

Kind = Literal["histogram", "heatmap", "bars", "graph", "scatter", "faithfulness", "circuit", "ranks"]

PLOTLY_JSON = "application/json"
HTML = "text/html"
SVG = "image/svg+xml"
PNG = "image/png"
PDF = "application/pdf"
FORMATS = (PLOTLY_JSON, HTML, SVG, PNG, PDF)


def get_ready() -> None:
    """Import what draws, and find the fonts."""
    for module in ("pathpatch.static_figures", "matplotlib.backends.backend_svg", "pathpatch.figures"):
        import_module(module)


def draw(result: bytes, spec: bytes, prompt_tokens: list[str] | None, media: str, options: dict[str, Any]) -> bytes:
    """The figure of a result, as one of ``FORMATS``; positions are labelled with ``prompt_tokens``, if given.

    Raises:
        FigureDoesNotFit: The result cannot fill that kind of figure.
        UnfitLook: The figure cannot take one of the options.
    """
    whole, said = orjson.loads(result), orjson.loads(spec)
    if media in (SVG, PNG, PDF):
        from pathpatch.static_figures import static_figure_for

        ending: Any = {SVG: "svg", PNG: "png", PDF: "pdf"}[media]
        return static_figure_for(whole, said, prompt_tokens, image_format=ending, **options)
    from pathpatch.figures import figure_for, to_html, to_json

    figure = figure_for(whole, said, prompt_tokens, **options)
    return (to_html(figure) if media == HTML else to_json(figure)).encode()
