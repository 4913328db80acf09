"""What the documentation tells a reader to type works: Python, curl, the command line, and every spec."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pathpatch.client import Client
from pathpatch.local import Stack

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("**/README.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENTED_URL = "http://127.0.0.1:8000"
COMMAND = re.compile(r"(?:[A-Z_]+=\S+ +)*(?:\.venv/bin/)?(pathpatch|curl)\b")
NOT_HERE = re.compile(
    r"pathpatch (up|demo|keys|--install-completion)\b"  # servers of their own, and commands that need an admin's key
    r"|pathpatch verify|gpt2-"  # need GPT-2 small's weights
)
SHOWS_NOTHING = "import plotly.io\nplotly.io.renderers.default = ''  # .show() would open a browser\n"


class Block(NamedTuple):
    """One fenced block."""

    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    return [Block(language, text) for language, text in FENCE.findall(page.read_text(encoding="utf-8"))]


def commands(text: str) -> Iterator[str]:
    """The commands of a block that can run here; one with an open quote goes on over the following lines."""
    lines = iter(text.splitlines())
    for line in lines:
        while line.count("'") % 2 and (more := next(lines, None)) is not None:
            line += "\n" + more
        if COMMAND.match(line) and not NOT_HERE.search(line):
            yield line


def page_id(page: Path) -> str:
    """The page's path, as a test's name."""
    return str(page.relative_to(ROOT))


WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
WITH_COMMANDS = [
    page for page in PAGES if any(list(commands(b.text)) for b in blocks(page) if b.language in ("", "bash"))
]
WITH_SPECS = [page for page in PAGES if any(block.language == "json" for block in blocks(page))]


@pytest.fixture
def reader(stack: Stack, tmp_path: Path, processed_weights_dir: Path) -> dict[str, str]:
    """The environment of somebody in a clone's folder, with the virtual environment activated and a service running."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PATHPATCH_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATHPATCH_URL": stack.url, "PATHPATCH_DATA_DIR": str(processed_weights_dir), "COLUMNS": "200"}
    return inherited | own | {"PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=page_id)
def test_python_of_a_page_runs(page: Path, reader: dict[str, str], tmp_path: Path) -> None:
    """As one script from top to bottom, since later blocks use the names of earlier ones."""
    python = "\n".join(block.text for block in blocks(page) if block.language == "python")
    script = tmp_path / "page.py"
    script.write_text(SHOWS_NOTHING + python, encoding="utf-8")
    command = [sys.executable, str(script)]
    run = subprocess.run(command, cwd=tmp_path, env=reader, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=page_id)
def test_commands_of_a_page_run(page: Path, reader: dict[str, str], stack: Stack, tmp_path: Path) -> None:
    """In their order, in one folder; ``JOB`` is the job that was made last."""
    with Client(stack.url) as client:
        for block in blocks(page):
            for command in commands(block.text) if block.language in ("", "bash") else ():
                typed = command.replace(".venv/bin/", "").replace(DOCUMENTED_URL, stack.url)
                if re.search(r"\bJOB\b", typed):
                    typed = re.sub(r"\bJOB\b", client.jobs(limit=1)[0].id, typed)
                run_typed(typed, reader, tmp_path)


def run_typed(typed: str, environment: dict[str, str], folder: Path) -> None:
    """One command, in bash; curl exits with 0 whatever the service says, so what it says is looked at."""
    line = ["bash", "-euo", "pipefail", "-c", typed]
    run = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, f"{typed}\n{run.stdout[-1500:]}\n{run.stderr[-1500:]}"
    if typed.startswith("curl"):
        assert '"status":4' not in run.stdout.replace(" ", ""), f"{typed}\n{run.stdout[-1500:]}"
        assert '"status":"failed"' not in run.stdout.replace(" ", ""), f"{typed}\n{run.stdout[-1500:]}"
    for plot in re.findall(r"--plot (\S+)|> (\S+\.svg)", typed):
        assert (folder / next(filter(None, plot))).stat().st_size > 1000


@pytest.mark.parametrize("page", WITH_SPECS, ids=page_id)
def test_json_of_a_page_is_json_and_its_specs_are_accepted(page: Path, stack: Stack) -> None:
    """A spec is what has a model; anything else is a part of one."""
    with Client(stack.url) as client:
        for block in blocks(page):
            if block.language == "json":
                document = json.loads(block.text)
                if "model" in document:
                    assert client.validate(document).cells >= 1


def test_the_pages_that_matter_most_are_tried() -> None:
    """A fence that changes its look must not make these tests pass by finding nothing."""
    tried = {page_id(page) for page in (*WITH_PYTHON, *WITH_COMMANDS)}
    assert {"README.md", "docs/tutorial.md", "docs/http.md", "docs/command-line.md", "docs/client.md"} <= tried
    assert len([page for page in WITH_COMMANDS if page.parent.parent.name == "examples"]) == 8
