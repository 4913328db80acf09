"""No module of ours imports itself in a circle, not even inside a function or for types only.

Modules in a circle can only be understood, and changed, all at once.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("api_schemas", "planning", "runtime", "blob_store", "job_store", "service", "worker", "pathpatch")


def modules_below(folder: Path) -> dict[str, Path]:
    """Each module below a package's folder by its dotted name; a package's is that of its ``__init__``."""
    named = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        named[".".join(parts).removesuffix(".__init__")] = path
    return named


def imports_of(name: str, path: Path) -> Iterator[str]:
    """Every dotted name that a module imports, wherever the import stands: ``from a import b`` is ``a.b``."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) - statement.level + 1] if statement.level else []
            origin = ".".join([*above, *filter(None, [statement.module])])
            yield from (f"{origin}.{alias.name}" for alias in statement.names)


def graph_of(folder: Path) -> dict[str, set[str]]:
    """Which modules of the package each of them imports."""
    modules = modules_below(folder)

    def module_of(imported: str) -> str | None:
        while imported and imported not in modules:
            imported = imported.rpartition(".")[0]
        return imported or None

    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        graph[name] = {found for found in map(module_of, imports_of(name, path)) if found is not None} - {name}
    return graph


def circle_in(folder: Path) -> list[str]:
    """The modules of one circle, each importing the one before it; empty where there is none."""
    try:
        TopologicalSorter(graph_of(folder)).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_in_a_circle(package: str) -> None:
    """Within a package too, imports point one way."""
    circle = circle_in(ROOT / package)
    assert not circle, "a circle of imports: " + " <- ".join(circle)


@pytest.mark.parametrize(
    "import_back",
    [
        "import tangled.one",
        "from tangled import one",
        "from tangled.one import first",
        "from .one import first",
        "from . import one",
        "def later():\n    from tangled.one import first",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tangled.one import first",
    ],
)
def test_a_circle_is_found_however_it_is_written(import_back: str, tmp_path: Path) -> None:
    """An import that runs late, or for the type checker only, still ties two modules together."""
    folder = tmp_path / "tangled"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("from tangled.two import second\nfirst = 1\n")
    (folder / "two.py").write_text(f"{import_back}\nsecond = 2\n")
    assert set(circle_in(folder)) == {"tangled.one", "tangled.two"}


def test_a_package_that_offers_the_names_of_its_modules_is_no_circle(tmp_path: Path) -> None:
    """``from package.module import name`` runs the package too, but does not need its names."""
    folder = tmp_path / "tidy"
    folder.mkdir()
    (folder / "__init__.py").write_text("from tidy.two import second\n")
    (folder / "one.py").write_text("first = 1\n")
    (folder / "two.py").write_text("from tidy.one import first\nsecond = first + 1\n")
    assert circle_in(folder) == []
