"""What docs/architecture.md says of the tree is true of it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = {
    "api_schemas",
    "checkpoints",
    "planning",
    "runtime",
    "blob_store",
    "job_store",
    "service",
    "worker",
    "pathpatch",
}
MAX_FILES = 4
"""To add something should touch no more."""


def part(heading: str) -> str:
    """The text below a heading, up to the next heading of any level."""
    return re.split(r"^#+ ", PAGE.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in part(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def imports() -> dict[str, list[str]]:
    """Our packages that each package of the table may import."""
    table = rows("Packages and what they may import")
    return {re.findall("`(.+?)`", package)[0]: re.findall("`(.+?)`", allowed) for package, _, allowed, _ in table}


def imported_by(package: str) -> set[str]:
    """Our modules that a package's modules import from outside it, without those of packages with rows of their own."""
    folder = ROOT / Path(*package.split("."))
    own_rows = [ROOT / Path(*other.split(".")) for other in imports() if other.startswith(f"{package}.")]
    found: set[str] = set()
    for file in folder.rglob("*.py"):
        if not any(file.is_relative_to(other) for other in own_rows):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module)
                elif isinstance(node, ast.Import):
                    found |= {alias.name for alias in node.names}
    ours = {module for module in found if module.partition(".")[0] in PACKAGES}
    return {module for module in ours if not is_within(module, package)}


def is_within(module: str, package: str) -> bool:
    """Whether a module is the package or lies in it."""
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize("package", imports())
def test_a_package_imports_only_what_its_row_allows(package: str) -> None:
    """Imports point one way; the table is where a newcomer looks it up."""
    allowed = imports()[package]
    extra = {module for module in imported_by(package) if not any(is_within(module, one) for one in allowed)}
    assert not extra, f"{package} imports {sorted(extra)}"
    unused = [one for one in allowed if not any(is_within(module, one) for module in imported_by(package))]
    assert not unused, f"{package} does not import {unused}"


@pytest.mark.parametrize("thing", ["A metric", "A hook", "A model family", "A kind of job"])
def test_adding_something_touches_few_files(thing: str) -> None:
    """If it takes more, the structure is wrong, not the page."""
    assert 2 <= len(rows(thing)) <= MAX_FILES


def test_every_file_and_folder_that_is_named_exists() -> None:
    """A file that has moved would send a reader astray."""
    named = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.(?:py|md))?)`", PAGE)
    assert len(named) > 20
    assert not [path for path in named if not (ROOT / path).exists()]
