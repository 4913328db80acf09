"""A client of the stack that all these tests share, and the examples' own scripts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathpatch.client import Client
from pathpatch.local import Stack

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(scope="session")
def client(stack: Stack) -> Iterator[Client]:
    """A client that talks to it."""
    with Client(stack.url) as talking:
        yield talking
