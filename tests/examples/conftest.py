"""One real stack for all examples, and the examples' own scripts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathpatch.client import Client
from pathpatch.local import Stack, StackSettings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory, processed_weights_dir: Path) -> Iterator[Client]:
    """A client of broker, worker and service, as `pathpatch up` starts them."""
    data_dir = tmp_path_factory.mktemp("examples-stack")
    settings = StackSettings(data_dir, port=0, redis_url=None, cache_dir=processed_weights_dir, device="cpu")
    with Stack(settings) as running, Client(running.url) as talking:
        yield talking
