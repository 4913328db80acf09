"""Text of others that reaches a terminal or a log steers neither."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from job_store.store import JobStore
from pathpatch.cli.up import LogPrinter
from runtime.logs import JsonFormatter, TextFormatter
from runtime.plain import plain
from tests.live_service import ROOT, LiveService, WorkerHand, live_service, spec
from tests.two_keys import ADMIN, Key

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
EVIL = f"a{CLIPBOARD}b\x9b31mc\u202egpj\u2066d\u2028e\x7f\r"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
COMMANDS = [
    ["list"],
    ["list", "--json"],
    ["show", "JOB"],
    ["show", "JOB", "--json"],
    ["events", "JOB"],
    ["events", "JOB", "--json"],
    ["result", "JOB"],
    ["result", "JOB", "--json"],
    ["validate", "SPEC"],
    ["validate", "SPEC", "--json"],
    ["submit", "SPEC"],
    ["cancel", "JOB"],
    ["models", EVIL],
    ["me"],
    ["keys", "list"],
    ["webhooks"],
    ["workers"],
]


def test_every_character_that_steers_is_written_out_and_nothing_else_is() -> None:
    """Also as JSON, which stays the same JSON."""
    assert plain("\x1b[2J\n") == "\\u001b[2J\\u000a" and plain("a\nb\x00", "\n") == "a\nb\\u0000"
    assert plain("Grüße, 東京 – naïve ✓") == "Grüße, 東京 – naïve ✓"
    document = {"tag": EVIL, "n": 1}
    text = plain(json.dumps(document, ensure_ascii=False))
    assert not CONTROLS.search(text) and json.loads(text) == document


def test_no_command_prints_past_the_function_that_writes_them_out() -> None:
    """`say`, `print_table`, `note` and `warn` of the terminal's module are the only ways out."""
    for path in (ROOT / "pathpatch" / "cli").glob("*.py"):
        prints = re.findall(r"(?<![\w.])print\(|typer\.echo\(f", path.read_text(encoding="utf-8"))
        assert not prints or path.name in ("terminal.py", "up.py", "__init__.py"), path.name


@pytest.fixture
def evil_job(guarded: LiveService, attacker: Key, worker: WorkerHand) -> str:
    """A finished job of which everything free is hostile."""
    with attacker.client() as client:
        answer = client.post("/v1/jobs", json=_evil_spec())
        assert answer.status_code == 202, answer.text
        worker.work_off()
        job_id: str = answer.json()["id"]
        return job_id


def _evil_spec() -> dict[str, object]:
    prompts = {"orig": [f"When{EVIL} Mary and John"], "new": [f"When{EVIL} Anna and John"], "kind": "prompts"}
    return spec(
        tags={f"k{EVIL}": f"v{EVIL}\nforged line"},
        name=f"n{EVIL}",
        dataset=prompts | {"roles": {f"r{EVIL}": [0]}},
        metric={"kind": "loss"},
    )


def _run(command: list[str], url: str) -> str:
    environment = os.environ | {"PATHPATCH_URL": url, "PATHPATCH_API_KEY": ADMIN, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pathpatch.cli", *command], env=environment, capture_output=True, timeout=60, check=False
    )
    return (done.stdout + done.stderr).decode()


def test_no_command_passes_a_control_character_on(guarded: LiveService, evil_job: str, tmp_path: Path) -> None:
    """An administrator looks at everybody's jobs: what others wrote must not reach the clipboard."""
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(_evil_spec()))
    told = ""
    for command in COMMANDS:
        words = [{"JOB": evil_job, "SPEC": str(file)}.get(word, word) for word in command]
        said = _run(words, guarded.url)
        assert said.strip(), command
        assert not CONTROLS.search(said), (command, CONTROLS.findall(said))
        assert not re.search("^forged line", said, re.MULTILINE), command
        told += said
    assert "\\u001b]52" in told and "\\u202e" in told


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_path_forges_no_line_of_a_log(store: JobStore, valkey, tmp_path: Path, form: str) -> None:
    """Whoever reads the log, or has it read by a program, sees one line for one request."""
    log = tmp_path / "service.log"
    with live_service(valkey, log, log_format=form) as service:
        httpx.get(f"{service.url}/%0aFORGED%20line%1b]52;c;eA==%07%c2%9b31m%e2%80%ae")
    written = log.read_text()
    assert "FORGED" in written and not re.search("^FORGED", written, re.MULTILINE)
    assert not CONTROLS.search(written)
    if form == "json":
        assert any("\x1b]52" in json.loads(line).get("path", "") for line in written.splitlines())


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_error_whose_text_is_hostile_forges_no_line(formatter: logging.Formatter) -> None:
    """A traceback has many lines; none begins as a line of the log."""
    try:
        raise ValueError(f"x{EVIL}\n2026-01-01T00:00:00Z info forged")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "fault", None, sys.exc_info())
    text = formatter.format(record)
    assert not CONTROLS.search(text) and not re.search("^2026-01-01", text, re.MULTILINE)


def test_what_processes_of_the_stack_print_is_passed_on_plainly(tmp_path: Path) -> None:
    """The broker's lines too."""
    with (tmp_path / "out").open("w+") as out:
        LogPrinter(out)("service", EVIL)
        out.seek(0)
        assert not CONTROLS.search(out.read().rstrip("\n"))
