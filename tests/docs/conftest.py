"""One real stack for everything that the documentation tells a reader to type."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pathpatch.local import Stack, StackSettings


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, processed_weights_dir: Path) -> Iterator[Stack]:
    """Broker, worker and service, as `pathpatch up` starts them."""
    data_dir = tmp_path_factory.mktemp("docs-stack")
    settings = StackSettings(data_dir, port=0, redis_url=None, cache_dir=processed_weights_dir, device="cpu")
    with Stack(settings) as running:
        yield running
