"""A real broker and an empty store on it.

A folder's ``conftest.py`` imports both, and has a broker of its own: a service that runs over one folder's store would
sweep the jobs of another's tests.
"""

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
    """The store, emptied before each test."""
    store = JobStore.connect(valkey.url)
    store.client.flushall()
    yield store
    store.close()
