"""The command line. Every command but `up`, `demo` and `new` talks to a running service over HTTP."""

import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pathpatch.cli import assistants, doctor, experiments, jobs, listing, runs, server, up
from pathpatch.cli.keys import keys_app
from pathpatch.cli.models import models_app
from pathpatch.cli.terminal import reporting, warn
from pathpatch.version import __version__

COMMANDS: dict[str, Callable[..., Any]] = {
    "up": up.up,
    "demo": experiments.demo,
    "new": experiments.new,
    "validate": runs.validate,
    "run": runs.run,
    "rerun": runs.rerun,
    "submit": runs.submit,
    "status": jobs.status,
    "wait": jobs.wait,
    "result": jobs.result,
    "cancel": jobs.cancel,
    "delete": jobs.delete,
    "list": listing.list_jobs,
    "events": jobs.events,
    "workers": server.workers,
    "me": server.me,
    "health": server.health,
    "doctor": doctor.doctor,
    "webhooks": server.webhooks,
    "mcp": assistants.mcp,
    "verify": experiments.verify,
    "version": server.version,
}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in COMMANDS.items():
    app.command(name)(reporting(command))
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"pathpatch {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Path patching as a service: exact, fast, declarative.

    To begin, in two terminals:

      pathpatch up

      pathpatch new founding-experiment > spec.yaml; pathpatch run spec.yaml --plot histogram.html

    PATHPATCH_URL names another service than http://127.0.0.1:8000, PATHPATCH_API_KEY is the key to it.
    """


def main() -> None:
    """Run a command; the exit code is 0 only if it did what it says."""
    warnings.showwarning = lambda message, *place: warn(str(message))
    app()
