"""`pathpatch up`: the one-machine stack in a terminal."""

import os
import re
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, TextIO

import typer

from pathpatch.local import Stack, StackSettings, default_data_dir
from runtime.plain import plain

COLOURS = (36, 33, 35, 34, 32, 96, 93, 95)  # ANSI: cyan, yellow, magenta, ...
NAME_WIDTH = 9
_BROKER_STAMP = re.compile(r"^\d+:[A-Z] \d+ \w+ \d{4} [\d:.]+ [*#.-] ")


class LogPrinter:
    """Prints the lines of several processes, each with its process's name; in colour on a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._colours: dict[str, int] = {}
        self._in_colour = out.isatty() and "NO_COLOR" not in os.environ

    def __call__(self, name: str, line: str) -> None:
        """Print one line of one process."""
        if name == "broker":
            line = _BROKER_STAMP.sub("", line)
            if "overcommit" in line:  # advice for dedicated servers, alarming on a laptop
                return
        with self._lock:
            print(f"{self._prefix(name)} {plain(line)}", file=self._out, flush=True)

    def _prefix(self, name: str) -> str:
        prefix = f"{name:<{NAME_WIDTH}}|"
        if not self._in_colour:
            return prefix
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\033[{colour}m{prefix}\033[0m"


class _EndRequest:
    """Ctrl-C, SIGTERM or a closed terminal: the first ends in order, the second at once."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self.stack: Stack | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.came.is_set():
            if self.stack is not None:
                self.stack.kill()
            return
        self.came.set()
        if self.stack is None:  # still starting
            raise KeyboardInterrupt


def up(
    host: Annotated[
        str, typer.Option(envvar="PATHPATCH_HOST", help="Address to listen on; beyond loopback, API keys are required.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PATHPATCH_PORT", help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where jobs and results are kept: PATHPATCH_DATA_DIR, or ~/.local/share/pathpatch."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of worker processes.", min=1, max=256)] = 1,
    device: Annotated[str | None, typer.Option(help="Device of the workers: cpu, cuda, cuda:1, ...")] = None,
) -> None:
    """Start broker, workers and service on this machine; Ctrl-C stops them all.

    Jobs and results are kept in the data folder and are there again after a
    restart. With REDIS_URL set, that server is used instead of starting one.
    Local checkpoints: PATHPATCH_MODELS=name=folder[,name=folder].

    Examples:

      pathpatch up

      pathpatch up --port 9000 --workers 2

      PATHPATCH_ADMIN_KEY=$(openssl rand -hex 32) pathpatch up --host 0.0.0.0
    """
    settings = StackSettings(
        data_dir=(data_dir or default_data_dir()).expanduser().resolve(),
        host=host,
        port=port,
        workers=workers,
        device=device,
    )
    say = LogPrinter(sys.stdout)
    request = _EndRequest()
    stack = Stack(settings, say)
    say("stack", f"starting {workers} {'worker' if workers == 1 else 'workers'}; data in {settings.data_dir}")
    try:
        stack.start()
    except KeyboardInterrupt:
        say("stack", "stopped before it was ready")
        raise typer.Exit(130) from None
    request.stack = stack
    say("stack", f"ready: {stack.url} (the page), {stack.url}/docs (the API); Ctrl-C stops")
    request.came.wait()
    say("stack", "stopping; once more Ctrl-C kills")
    stack.stop()
    say("stack", "stopped: every process has ended")
