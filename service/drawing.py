"""Figures, drawn by a short-lived process: Plotly and Matplotlib would double the memory of the service."""

import asyncio
import sys
from typing import Any, Literal

import orjson

from api_schemas.errors import InternalError, InvalidParameter

Kind = Literal["histogram", "heatmap", "bars", "graph", "scatter"]

PLOTLY_JSON = "application/json"
HTML = "text/html"
SVG = "image/svg+xml"
FORMATS = (PLOTLY_JSON, HTML, SVG)
DOES_NOT_FIT = 3
TIMEOUT_S = 60.0
AT_ONCE = 2

_slots = asyncio.Semaphore(AT_ONCE)


async def draw(
    result: bytes, spec: bytes, prompt_tokens: list[str] | None, media: str, kind: str | None, block: int
) -> bytes:
    """The figure of a result, as one of ``FORMATS``; positions are labelled with ``prompt_tokens``, if given.

    Raises:
        InvalidParameter: The result cannot fill that kind of figure.
    """
    order = {"result": orjson.Fragment(result), "spec": orjson.Fragment(spec), "prompt_tokens": prompt_tokens}
    command = [sys.executable, "-P", "-m", "service.drawing", media, kind or "", str(block)]
    async with _slots:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(TIMEOUT_S):
                figure, complaint = await process.communicate(orjson.dumps(order))
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode == DOES_NOT_FIT:
        raise InvalidParameter(complaint.decode().strip(), "/query/kind")
    if process.returncode:
        raise InternalError(f"The figure could not be drawn: {complaint.decode().strip().splitlines()[-1:]}")
    return figure


def _render(order: dict[str, Any], media: str, kind: str | None, block: int) -> bytes:
    """Drawn in the child, which alone imports Plotly or Matplotlib."""
    if media == SVG:
        from pathpatch.static_figures import static_figure_for

        return static_figure_for(order["result"], order["spec"], order["prompt_tokens"], kind, block)
    from pathpatch.figures import figure_for, to_html, to_json

    figure = figure_for(order["result"], order["spec"], order["prompt_tokens"], kind, block)
    return (to_html(figure) if media == HTML else to_json(figure)).encode()


def main(media: str, kind: str, block: str) -> int:
    """Read result and spec from standard input, write the figure to standard output."""
    from pathpatch.charting import FigureDoesNotFit

    order = orjson.loads(sys.stdin.buffer.read())
    try:
        figure = _render(order, media, kind or None, int(block))
    except FigureDoesNotFit as exc:
        sys.stderr.write(str(exc))
        return DOES_NOT_FIT
    sys.stdout.buffer.write(figure)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
