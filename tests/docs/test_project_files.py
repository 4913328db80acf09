"""What stands in several of the project's own files is the same in all of them."""

import re
import tomllib
from pathlib import Path

import yaml

import pathpatch

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"


def test_the_version_is_the_same_wherever_it_stands() -> None:
    """The three places that CONTRIBUTING's release recipe names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == citation["version"] == pathpatch.__version__


def test_every_dependency_is_pinned() -> None:
    """A dependency without a pin would be another version on each machine."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    pinned = {plain(pin.partition("==")[0]) for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for extra in [project["dependencies"], *project["optional-dependencies"].values()]:
        named = {plain(re.split(r"[\[<>=~!; ]", requirement)[0]) for requirement in extra}
        assert named - {"pathpatch"} <= pinned


def plain(name: str) -> str:
    """A distribution's name as pip compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_github_runs_what_everybody_runs() -> None:
    """The tests by ``.ci/run``, and lint, docs and demo by their targets: nothing that a contributor cannot run."""
    workflow = yaml.safe_load((WORKFLOWS / "ci.yml").read_text(encoding="utf-8"))
    run = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert {"bash .ci/run < /dev/null", "make lint", "make docs", "make demo"} <= set(run)


def test_adding_a_metric_names_files_that_exist() -> None:
    """Four of them, in CONTRIBUTING."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part = page.partition("## Adding a metric")[2].partition("\n## ")[0]
    files = re.findall(r"^\*\*\d\. `([^`]+)`\*\*", part, re.MULTILINE)
    assert len(files) == 4
    assert all((ROOT / file).is_file() for file in files)
