"""Where a result goes: the terminal, a file, a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pathpatch.cli.terminal import CommandFailed, note, print_json, say

if TYPE_CHECKING:
    from pathpatch.results import Result

Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw the result: .html, .svg, .png or .pdf by its ending."),
]
Kind = Annotated[
    Literal["histogram", "scatter", "heatmap", "bars", "graph", "faithfulness", "circuit", "ranks"] | None,
    typer.Option("--kind", help="Which figure to draw, instead of the one chosen automatically."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Save the result: .npz, .json or .csv; - prints JSON."),
]
STANDARD_OUTPUT = Path("-")


def deliver(result: "Result", plot: Plot, kind: Kind, look: Mapping[str, Any], output: Output, json: bool) -> None:
    """Print the result, save it, draw it."""
    if json or output == STANDARD_OUTPUT:
        print_json(result.to_json())
    else:
        say(str(result), keep="\n")
    if output is not None and output != STANDARD_OUTPUT:
        save(result, output)
    if plot is not None:
        draw(result, plot, {"kind": kind, **look})


def save(result: "Result", path: Path) -> None:
    """Write the result to a file, in the format of its ending."""
    try:
        result.save(path)
    except ImportError as exc:
        raise CommandFailed("A .csv needs pandas: pip install pandas, or save .npz or .json instead.") from exc
    note(f"saved {path}")


def draw(result: "Result", path: Path, options: Mapping[str, Any]) -> None:
    """Draw the result into a file, in the format of its ending; one file per metric where there are several.

    Raises:
        CommandFailed: The result cannot fill that kind of figure, or matplotlib is missing.
    """
    from pathpatch.drawing.charting import FigureDoesNotFit
    from pathpatch.drawing.look import UnfitLook

    several = result.blocks if len(result.blocks) > 1 else ()
    for index in range(len(several) or 1):
        file = path.with_stem(f"{path.stem}-{index + 1}-{several[index].kind}") if several else path
        try:
            file.write_bytes(_drawn(result, path.suffix, {**options, "block": index}))
        except (FigureDoesNotFit, UnfitLook) as exc:
            raise CommandFailed(f"No figure was drawn: {exc}.") from exc
        note(f"drew {file}")


def _drawn(result: "Result", ending: str, options: Mapping[str, Any]) -> bytes:
    if ending == ".html":
        from pathpatch import figures

        return figures.to_html(figures.figure_for(result, **options)).encode()
    try:
        from pathpatch.static_figures import static_figure_for
    except ImportError as exc:
        raise CommandFailed("SVG, PNG and PDF need matplotlib: pip install 'pathpatch[figures]'.") from exc
    image_format: Any = ending.removeprefix(".")
    return static_figure_for(result, image_format=image_format, **options)


def check_endings(output: Path | None, plot: Path | None) -> None:
    """Refuse files that could not be written, before the work that they are for.

    Raises:
        CommandFailed: An ending is unknown, or a folder is not there.
    """
    for path, endings in ((output, (".npz", ".json", ".csv")), (plot, (".html", ".svg", ".png", ".pdf"))):
        if path is not None and path != STANDARD_OUTPUT:
            if path.suffix not in endings:
                raise CommandFailed(f"{path.name} must end in one of {', '.join(endings)}.")
            if not path.parent.is_dir():
                raise CommandFailed(f"The folder {path.parent} is not there.")
