"""What README and docs/ tell people to type is typed here, so that it cannot rot."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from api_schemas.spec import JobSpec
from pathpatch.local import Stack

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEFAULT_URL = "http://127.0.0.1:8000"


def blocks(page: Path, language: str) -> list[str]:
    """The page's code blocks of one language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [code for name, code in fenced if name == language]


def written(language: str, *parts: str) -> list[pytest.param]:  # type: ignore[valid-type]
    """Blocks of all pages that have these parts, with the page as the test's name."""
    found = ((page.relative_to(ROOT), block) for page in PAGES for block in blocks(page, language))
    return [pytest.param(block, id=str(page)) for page, block in found if all(part in block for part in parts)]


@pytest.mark.parametrize("block", written("json", '"model"', '"dataset"', '"patch"'))
def test_every_written_spec_is_valid(block: str) -> None:
    """People begin by copying."""
    JobSpec.model_validate(json.loads(block))


@pytest.mark.integration
@pytest.mark.slow
def test_the_readmes_python_runs(tmp_path: Path, processed_weights_dir: Path) -> None:
    """With a private stack, as it stands; only the browser is left out."""
    (code,) = blocks(ROOT / "README.md", "python")
    (tmp_path / "example.py").write_text(code.replace(".show()", ".to_json()"))
    environment = {**os.environ, "PATHPATCH_DATA_DIR": str(processed_weights_dir)}
    run = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "attention_diff (probability), example 800, n = 800" in run.stdout


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", written("", "curl "))
def test_every_curl_line_is_answered(block: str, stack: Stack, tmp_path: Path) -> None:
    """Against a real service, with a real job where the line says JOB."""
    job = submitted(stack)
    script = block.replace(DEFAULT_URL, stack.url).replace("JOB", job).replace("curl -s ", "curl -sS --fail-with-body ")
    command = ["bash", "-euo", "pipefail", "-c", script]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def submitted(stack: Stack) -> str:
    """A job that has ended, on this stack."""
    from pathpatch.client import Client

    (block,) = blocks(ROOT / "docs" / "specs.md", "json")[:1]
    with Client(stack.url) as client:
        job = client.submit(json.loads(block)).wait(progress=False, timeout_s=60)
    assert job.status == "succeeded"
    return job.id
