"""`pathpatch doctor`: look at everything that a service stands on."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pathpatch.cli.terminal import DEFAULT_URL, AsJson, Url, print_json, print_table, say

if TYPE_CHECKING:
    from pathpatch.doctor.finding import Finding

SAID = {"ok": "ok", "warning": "look", "fault": "FAULT"}


def doctor(
    data_dir: Annotated[
        Path | None, typer.Option(help="Data folder of pathpatch up; by default PATHPATCH_DATA_DIR or the user's.")
    ] = None,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Check this machine, broker, blobs, models and service, and print what to do; the exit code is 1 for a fault.

    Reads the environment as service and workers do (REDIS_URL, PATHPATCH_BLOBS, PATHPATCH_MODELS, PATHPATCH_DATA_DIR).
    All weights of local models are read.

    Example: pathpatch doctor
    """
    findings = list(_findings(data_dir, url))
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_table(("check", "state", "found"), [(one.check, SAID[one.state], one.detail) for one in findings])
        for one in findings:
            if one.advice:
                say(f"\n{one.check}: {one.detail}\n  -> {one.advice}", keep="\n")
    if any(finding.state == "fault" for finding in findings):
        raise typer.Exit(1)


def _findings(data_dir: Path | None, url: str) -> "Iterator[Finding]":
    from pathpatch.doctor import blobs, broker, machine, models, service
    from pathpatch.doctor.finding import Finding
    from pathpatch.fetching import model_dir
    from pathpatch.stack.stack import blobs_of, default_data_dir

    folder = data_dir or default_data_dir()
    yield from machine.examine(folder)
    address = os.environ.get("REDIS_URL") or broker.own_broker(folder)
    if address is None:
        yield Finding("broker", "ok", f"not looked at: no REDIS_URL, and no broker of pathpatch up in {folder}")
    else:
        yield from broker.examine(address)
    own = {} if os.environ.get("REDIS_URL") or address is None else {"PATHPATCH_BLOBS": blobs_of(folder)}
    yield from blobs.examine({**own, **os.environ}, address)
    yield from models.examine(os.environ.get("PATHPATCH_MODELS", ""), model_dir())
    yield from service.examine(url)
