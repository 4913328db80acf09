"""A real server for every test of the store, emptied before each."""

from collections.abc import Iterator

import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One server for the session."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def store(valkey: EmbeddedValkey) -> Iterator[JobStore]:
    """An empty store."""
    store = JobStore.connect(valkey.url)
    store.client.flushall()
    yield store
    store.close()
