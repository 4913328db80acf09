"""What every command shares: options, files to read, output to write, and errors in one readable line."""

import json
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pathpatch.presets import UnknownPreset
from pathpatch.problems import PathPatchingError, Unreachable
from pathpatch.stack.errors import StackFailed
from runtime.plain import plain

if TYPE_CHECKING:
    from pathpatch.client import Client

DEFAULT_URL = "http://127.0.0.1:8000"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Url = Annotated[str, typer.Option("--url", envvar="PATHPATCH_URL", help="Where the service answers.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, as the service answers it.")]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up waiting after this long.")]
SpecFile = Annotated[str, typer.Argument(metavar="SPEC", help="A JSON or YAML file, or - for standard input.")]

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


def say(text: str, *, keep: str = "", end: str = "\n", flush: bool = False) -> None:
    """A line on standard output, without anything in it that would steer the terminal; ``keep`` its line ends."""
    print(plain(text, keep), end=end, flush=flush)


def shown(text: str) -> str:
    """Text of somebody else's as Rich prints it: no markup, no control characters but line ends."""
    return escape(plain(text, "\n"))


def print_json(value: Any) -> None:
    """JSON on standard output, for other programs: indented, no colours, nothing else."""
    say(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), keep="\n")


def as_json(record: Any) -> Any:
    """A record of the contract as the service sends it."""
    return record.model_dump(mode="json")


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for a terminal."""
    laid_out = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        laid_out.add_row(*(escape(plain(cell)) for cell in row))
    return laid_out


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: wrapped to fit a terminal, one line a row when the output is piped."""
    lines = [list(map(plain, row)) for row in rows]
    if out.is_terminal:
        out.print(table(headings, lines))
        return
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    for line in [list(headings), *lines]:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def note(text: str) -> None:
    """Something for the person at the terminal, beside the output."""
    err.print(shown(text), style="dim", soft_wrap=True)


def warn(text: str) -> None:
    """Something that is probably not meant."""
    err.print(f"[yellow]warning:[/] {shown(text)}", soft_wrap=True)


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
            err.print(f"[red]error:[/] {shown(str(exc) + hint)}", soft_wrap=True)
            raise typer.Exit(1) from exc

    return reported
