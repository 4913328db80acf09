"""Code that fits in the eye: sizes of functions and modules, and docstrings of what is public."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("api_schemas", "planning", "runtime", "blob_store", "job_store", "service", "worker", "pathpatch")
LONGEST_FUNCTION, MEDIAN_FUNCTION, LONGEST_MODULE = 50, 8, 300

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> dict[str, str]:
    """Source of every module, by path."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return {file.relative_to(ROOT).as_posix(): file.read_text() for file in files}


def functions() -> dict[str, int]:
    """Lines of every function and method, docstring included, by its place."""
    found = {}
    for path, source in modules().items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, Function):
                assert node.end_lineno is not None
                found[f"{path}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    return found


def public(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Functions and classes of a module that others may use, and the methods of these classes."""
    for node in tree.body:
        if isinstance(node, (*Function.__args__, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef) and not is_protocol(node):
                yield from (
                    (f"{node.name}.{part.name}", part)
                    for part in node.body
                    if isinstance(part, Function) and not part.name.startswith("_")
                )


def is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def test_functions_are_short() -> None:
    """Most are a dozen lines; a long one does two things."""
    lengths = functions()
    assert [place for place, length in lengths.items() if length > LONGEST_FUNCTION] == []
    assert statistics.median(lengths.values()) <= MEDIAN_FUNCTION


def test_modules_hold_one_idea() -> None:
    """Past 300 lines there are usually two."""
    assert [path for path, source in modules().items() if source.count("\n") > LONGEST_MODULE] == []


def test_what_is_public_says_what_it_does() -> None:
    """In a docstring."""
    undocumented = [
        f"{path}: {name}"
        for path, source in modules().items()
        for name, node in public(ast.parse(source))
        if ast.get_docstring(node) is None  # type: ignore[arg-type]
    ]
    assert undocumented == []
