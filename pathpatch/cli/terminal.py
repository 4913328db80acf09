"""What every command shares: options, files to read, output to write, and errors in one readable line."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pathpatch.presets import UnknownPreset
from pathpatch.problems import PathPatchingError, Unreachable
from pathpatch.stack.errors import StackFailed

if TYPE_CHECKING:
    from pathpatch.client import Client
    from pathpatch.results import Result

DEFAULT_URL = "http://127.0.0.1:8000"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Url = Annotated[str, typer.Option("--url", envvar="PATHPATCH_URL", help="Where the service answers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the service answers it.")]
SpecFile = Annotated[str, typer.Argument(metavar="SPEC", help="A JSON or YAML file, or - for standard input.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
JobOrBatchId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or a batch's.")]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw the result: .html, .svg or .png by its ending.")
]
Kind = Annotated[
    Literal["histogram", "scatter", "heatmap", "bars", "graph"] | None,
    typer.Option("--kind", help="Which figure to draw, instead of the fitting one."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save the result: .npz, .json or .csv.")
]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class NothingThere(Unreachable):
    """Nobody listens there; the message says what to start."""

    def __init__(self, url: str) -> None:
        PathPatchingError.__init__(
            self, f"nothing answers at {url}: start it with `pathpatch up`, or name another service in PATHPATCH_URL"
        )
        self.url = url


class CommandFailed(PathPatchingError):
    """A command cannot go on; the message says why and what to do."""

    code = "command_failed"
    title = "The command failed"


def connect(url: str) -> "Client":
    """A client of the service; the key is PATHPATCH_API_KEY.

    Raises:
        Unreachable: It is not an address, or nobody listens there on this machine; found at once, without the client's
            retries.
    """
    from pathpatch.client import Client

    client = Client(url)
    place = urlsplit(client.url)
    if place.hostname in LOOPBACK:
        try:
            socket.create_connection((place.hostname, place.port or 80), timeout=2.0).close()
        except OSError as exc:
            client.close()
            raise NothingThere(url) from exc
    return client


def read_spec(source: str) -> dict[str, Any]:
    """A spec from a JSON or YAML file, or from standard input.

    Raises:
        CommandFailed: It cannot be read, or is no mapping.
    """
    try:
        text = sys.stdin.read() if source == "-" else Path(source).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise CommandFailed(f"{source} cannot be read: {why}. `pathpatch new` writes specs to start from.") from exc
    spec = _parsed(source, text)
    if not isinstance(spec, dict):
        raise CommandFailed(f"{source} holds no spec: it must be a mapping with model, dataset, patch and metric.")
    return spec


def _parsed(source: str, text: str) -> Any:
    if source.endswith(".json") or text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as exc:
            if source.endswith(".json"):
                place = f"line {exc.lineno}, column {exc.colno}"
                raise CommandFailed(f"{source} is not JSON: {exc.msg} at {place}.") from exc
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise CommandFailed(f"{source} is not YAML: {exc.problem}{place}.") from exc
    except yaml.YAMLError as exc:
        raise CommandFailed(f"{source} is not YAML: {exc}") from exc


def print_json(value: Any) -> None:
    """JSON on standard output, for other programs: indented, no colours, nothing else."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def as_json(record: Any) -> Any:
    """A record of the contract as the service sends it."""
    return record.model_dump(mode="json")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: wrapped to fit a terminal, one line a row when the output is piped."""
    lines = [list(row) for row in rows]
    if out.is_terminal:
        table = Table(*headings, box=None, pad_edge=False, header_style="bold")
        for line in lines:
            table.add_row(*map(escape, line))
        out.print(table)
        return
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    for line in [list(headings), *lines]:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def note(text: str) -> None:
    """Something for the person at the terminal, beside the output."""
    err.print(escape(text), style="dim", soft_wrap=True)


def warn(text: str) -> None:
    """Something that is probably not meant."""
    err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)


def save(result: "Result", path: Path) -> None:
    """Write the result to a file, in the format of its ending."""
    if path.suffix == ".csv":
        try:
            result.to_dataframe().to_csv(path, index=False)
        except ImportError as exc:
            raise CommandFailed("A .csv needs pandas: pip install pandas, or save .npz or .json instead.") from exc
    else:
        result.save(path)
    note(f"saved {path}")


def draw(result: "Result", path: Path, kind: str | None = None) -> None:
    """Draw the result into a file, in the format of its ending; one file per metric where there are several.

    Raises:
        CommandFailed: The result cannot fill that kind of figure, or matplotlib is missing.
    """
    from pathpatch.charting import FigureDoesNotFit

    for index, block in enumerate(result.blocks):
        file = path if len(result.blocks) == 1 else path.with_stem(f"{path.stem}-{index + 1}-{block.kind}")
        try:
            file.write_bytes(_drawn(result, path.suffix, kind, index))
        except FigureDoesNotFit as exc:
            raise CommandFailed(f"No figure was drawn: {exc}.") from exc
        note(f"drew {file}")


def _drawn(result: "Result", ending: str, kind: str | None, block: int) -> bytes:
    if ending == ".html":
        from pathpatch import figures

        return figures.to_html(figures.figure_for(result, kind=kind, block=block)).encode()
    try:
        from pathpatch.static_figures import static_figure_for
    except ImportError as exc:
        raise CommandFailed("SVG and PNG need matplotlib: pip install 'pathpatch[figures]'.") from exc
    image_format: Any = ending.removeprefix(".")
    return static_figure_for(result, kind=kind, block=block, image_format=image_format)


def check_endings(output: Path | None, plot: Path | None) -> None:
    """Refuse files that could not be written, before the work that they are for.

    Raises:
        CommandFailed: An ending is unknown, or a folder is not there.
    """
    for path, endings in ((output, (".npz", ".json", ".csv")), (plot, (".html", ".svg", ".png"))):
        if path is not None:
            if path.suffix not in endings:
                raise CommandFailed(f"{path.name} must end in one of {', '.join(endings)}.")
            if not path.parent.is_dir():
                raise CommandFailed(f"The folder {path.parent} is not there.")


def reporting(command: Callable[..., None]) -> Callable[..., None]:
    """The command with its errors as readable lines and exit code 1; PATHPATCH_DEBUG=1 keeps the tracebacks."""

    @wraps(command)
    def reported(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except (PathPatchingError, StackFailed, UnknownPreset) as exc:
            if os.environ.get("PATHPATCH_DEBUG"):
                raise
            hint = " (in PATHPATCH_API_KEY)" if getattr(exc, "code", "") == "unauthenticated" else ""
            err.print(f"[red]error:[/] {escape(str(exc) + hint)}", soft_wrap=True)
            raise typer.Exit(1) from exc

    return reported
