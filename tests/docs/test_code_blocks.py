"""What the documentation tells a reader to type works: Python, commands, and every spec.

A block that cannot run here says so, unseen by readers of the page: ``<!-- not run: why -->`` on the line above it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from pathpatch.client import Client
from pathpatch.local import Stack

ROOT = Path(__file__).resolve().parents[2]
OWN_PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*OWN_PAGES, *sorted((ROOT / "examples").glob("**/README.md"))]
FENCE = re.compile(r"(?:<!-- not run: ([^\n]+) -->\n)?^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LANGUAGES = {"bash", "python", "json", "yaml", "text"}
DOCUMENTED_URL = "http://127.0.0.1:8000"
SHOWS_NOTHING = "import plotly.io\nplotly.io.renderers.default = ''  # .show() would open a browser\n"
SAYS_ITS_ERRORS = 'curl() { command curl --fail-with-body "$@"; }\n'


class Block(NamedTuple):
    """One fenced block, and why it is not run, if it is not."""

    not_run: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    return [Block(*found) for found in FENCE.findall(page.read_text(encoding="utf-8"))]


def run_here(page: Path, *languages: str) -> list[str]:
    """The blocks of these languages that run."""
    return [block.text for block in blocks(page) if block.language in languages and not block.not_run]


def name(page: Path) -> str:
    """The page's path, as a test's name."""
    return str(page.relative_to(ROOT))


def with_blocks(*languages: str, pages: list[Path] = PAGES) -> Any:
    """A test's parameter: the pages that have something to run in these languages."""
    return pytest.mark.parametrize("page", [page for page in pages if run_here(page, *languages)], ids=name)


every_page = pytest.mark.parametrize("page", PAGES, ids=name)


@pytest.fixture
def reader(stack: Stack, tmp_path: Path, processed_weights_dir: Path) -> dict[str, str]:
    """The environment of somebody in a clone's folder, with the virtual environment activated and a service running."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PATHPATCH_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATHPATCH_URL": stack.url, "PATHPATCH_DATA_DIR": str(processed_weights_dir), "COLUMNS": "200"}
    return inherited | own | {"PATH": path}


@pytest.mark.integration
@with_blocks("python")
def test_python_of_a_page_runs(page: Path, reader: dict[str, str], tmp_path: Path) -> None:
    """As one script from top to bottom, since later blocks use the names of earlier ones."""
    script = tmp_path / "page.py"
    script.write_text("\n".join([SHOWS_NOTHING, *run_here(page, "python")]), encoding="utf-8")
    said = typed([sys.executable, str(script)], reader, tmp_path)
    assert "Traceback" not in said


@pytest.mark.integration
@with_blocks("bash")
def test_commands_of_a_page_run(page: Path, reader: dict[str, str], stack: Stack, tmp_path: Path) -> None:
    """In their order, in one folder; ``JOB`` is the job that was made last."""
    for block in run_here(page, "bash"):
        lines = block.replace(DOCUMENTED_URL, stack.url)
        if re.search(r"\bJOB\b", lines):
            with Client(stack.url) as client:
                lines = re.sub(r"\bJOB\b", client.jobs(limit=1)[0].id, lines)
        said = typed(["bash", "-euo", "pipefail", "-c", SAYS_ITS_ERRORS + lines], reader, tmp_path)
        assert '"status":"failed"' not in said.replace(" ", ""), f"{lines}\n{said[-1500:]}"
        for picture in re.findall(r"(?:--plot|>) (\S+\.(?:html|svg|png))", lines):
            assert (tmp_path / picture).stat().st_size > 1000


def typed(command: list[str], environment: dict[str, str], folder: Path) -> str:
    """What a command that succeeds says, errors included."""
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"{command[-1]}\n{run.stdout[-1500:]}\n{run.stderr[-3000:]}"
    return run.stdout + run.stderr


@pytest.mark.integration
@with_blocks("json", "yaml", pages=OWN_PAGES)
def test_specs_of_a_page_are_accepted(page: Path, stack: Stack) -> None:
    """A spec is what has a model; anything else is a part of one, and at least well written.

    Those of the examples' pages are held to their files, which run, by tests/examples.
    """
    with Client(stack.url) as client:
        for text in run_here(page, "json"):
            json.loads(text)
        for text in run_here(page, "json", "yaml"):
            document = yaml.safe_load(text)
            if isinstance(document, dict) and "model" in document:
                assert client.validate(document).cells >= 1


@every_page
def test_a_block_says_what_it_is_written_in(page: Path) -> None:
    """So that none is passed over: what is neither code nor data is ``text``."""
    for block in blocks(page):
        assert block.language in LANGUAGES, f"```{block.language}\n{block.text[:80]}"


@every_page
def test_make_has_the_targets_that_a_page_names(page: Path) -> None:
    """These are not run by the block tests: one of them is what runs this test."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    code = [block.text for block in blocks(page)] + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    for line in "\n".join(code).splitlines():
        if line.startswith("make "):
            words = line.partition("#")[0].split()[1:]
            assert {word for word in words if word.isalpha() and word.islower()} <= targets, line


def test_the_pages_that_matter_most_are_tried() -> None:
    """A fence that changes its look must not make these tests pass by finding nothing."""
    tried = {name(page) for page in PAGES if run_here(page, "python", "bash")}
    assert {"README.md", "docs/tutorial.md", "docs/http.md", "docs/command-line.md", "docs/client.md"} <= tried
    assert sum(page.startswith("examples/") and page.count("/") == 2 for page in tried) == 11
