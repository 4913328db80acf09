"""The command line. Every command but `up`, `demo` and `new` talks to a running service over HTTP."""

import warnings
from collections.abc import Callable
from typing import Any

import typer

from pathpatch import cli_experiments, cli_jobs, cli_server, cli_up
from pathpatch.cli_keys import keys_app
from pathpatch.terminal import reporting, warn

COMMANDS: dict[str, Callable[..., Any]] = {
    "up": cli_up.up,
    "demo": cli_experiments.demo,
    "new": cli_experiments.new,
    "validate": cli_jobs.validate,
    "run": cli_jobs.run,
    "submit": cli_jobs.submit,
    "status": cli_jobs.status,
    "wait": cli_jobs.wait,
    "result": cli_jobs.result,
    "cancel": cli_jobs.cancel,
    "delete": cli_jobs.delete,
    "list": cli_jobs.list_jobs,
    "events": cli_jobs.events,
    "models": cli_server.models,
    "workers": cli_server.workers,
    "me": cli_server.me,
    "health": cli_server.health,
    "webhooks": cli_server.webhooks,
    "verify": cli_experiments.verify,
    "version": cli_server.version,
}

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in COMMANDS.items():
    app.command(name)(reporting(command))
app.add_typer(keys_app, name="keys")


@app.callback()
def about() -> None:
    """Path patching as a service: exact, fast, declarative.

    To begin, in two terminals:

      pathpatch up

      pathpatch new ioi-heads > spec.yaml; pathpatch run spec.yaml --plot histogram.html

    PATHPATCH_URL names another service than http://127.0.0.1:8000, PATHPATCH_API_KEY is the key to it.
    """


def main() -> None:
    """Run a command; the exit code is 0 only if it did what it says."""
    warnings.showwarning = lambda message, *place: warn(str(message))
    app()


if __name__ == "__main__":
    main()
