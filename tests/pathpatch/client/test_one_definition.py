"""The client with ``async`` and the one without are one definition."""

import importlib.util
from pathlib import Path

import pytest

import pathpatch as pp

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "pathpatch" / "client" / "generate.py"


def generator():
    """The script that writes ``blocking/``; it is no part of what users import."""
    spec = importlib.util.spec_from_file_location("generate", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "expected"), generator().modules().items(), ids=lambda value: getattr(value, "name", "")
)
def test_the_blocking_client_is_what_its_generator_writes(path, expected):
    """Whoever changes one of them by hand is told: python pathpatch/client/generate.py."""
    assert path.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize(("blocking", "awaited"), [(pp.Client, pp.AsyncClient), (pp.JobHandle, pp.AsyncJobHandle)])
def test_both_clients_have_the_same_methods(blocking, awaited):
    """What the page on the client promises of ``AsyncClient``."""

    def names(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(blocking) == names(awaited)
    assert len(names(blocking)) > 5
