"""Results as PDF, SVG or PNG for papers, and as matplotlib figures to change: the same charts as ``figures``."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal, get_args

from matplotlib import rc_context
from matplotlib.figure import Figure

from pathpatch.drawing.captions import plain
from pathpatch.drawing.charting import build, subject_of
from pathpatch.drawing.circuit_job import circuit_chart, data_of, is_circuit_result
from pathpatch.drawing.look import taken_from
from pathpatch.drawing.matplotlib_charts import draw

Format = Literal["svg", "png", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)
_DPI = 200


def matplotlib_figure_for(
    result: Any,
    spec: Any = None,
    prompt_tokens: Sequence[str] | None = None,
    kind: str | None = None,
    block: int | str = 0,
    **options: Any,
) -> Figure:
    """The figure that fits a result, to change and to save; arguments as of :func:`pathpatch.figures.figure_for`.

    Its axes are ``figure.axes[0]``; of a heatmap, ``figure.axes[1]`` is the colour bar's.
    """
    return _drawn(result, spec, prompt_tokens, kind, block, options)[0]


def static_figure_for(
    result: Any,
    spec: Any = None,
    prompt_tokens: Sequence[str] | None = None,
    kind: str | None = None,
    block: int | str = 0,
    image_format: Format = "svg",
    **options: Any,
) -> bytes:
    """The same figure as an SVG, PNG or PDF file; the same result gives the same bytes.

    Raises:
        ValueError: There is no such format.
    """
    figure, alt = _drawn(result, spec, prompt_tokens, kind, block, options)
    metadata: dict[Format, dict[str, Any]] = {
        "svg": {"Date": None, "Description": alt},
        "png": {"Description": alt},
        "pdf": {"CreationDate": None, "Subject": alt},
    }
    if image_format not in metadata:
        raise ValueError(f"no image format {image_format!r}: it is one of {', '.join(FORMATS)}")
    file = BytesIO()
    # An SVG's identifiers are random without a salt; fonts of type 42 keep a PDF's text text, as journals ask.
    with rc_context({"svg.hashsalt": "pathpatch", "pdf.fonttype": 42}):
        figure.savefig(file, format=image_format, dpi=_DPI, metadata=metadata[image_format])
    return file.getvalue()


def _drawn(
    result: Any,
    spec: Any,
    prompt_tokens: Sequence[str] | None,
    kind: str | None,
    block: int | str,
    options: dict[str, Any],
) -> tuple[Figure, str]:
    """The figure, and what it shows in a sentence."""
    look, rest = taken_from(options)
    if is_circuit_result(result):
        said = plain(spec) if spec is not None else getattr(result, "spec", None)
        chart = circuit_chart(data_of(result), said, kind, **rest)
    else:
        chart = build(subject_of(result, spec, prompt_tokens, block), kind, **rest)
    return draw(chart, look), chart.words.alt
