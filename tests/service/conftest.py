"""One real broker and one real service for the tests over HTTP; each test starts with an empty store."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import LiveService, WorkerHand, live_service


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """One server for the session."""
    with embedded_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def service_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's service writes its log."""
    return tmp_path_factory.mktemp("service") / "service.log"


@pytest.fixture(scope="session")
def shared_service(valkey: EmbeddedValkey, service_log: Path) -> Iterator[LiveService]:
    """The service without keys, as on a laptop."""
    with live_service(valkey, service_log) as service:
        yield service


@pytest.fixture
def store(valkey: EmbeddedValkey) -> Iterator[JobStore]:
    """The store, emptied."""
    store = JobStore.connect(valkey.url)
    store.client.flushall()
    yield store
    store.close()


@pytest.fixture
def service(shared_service: LiveService, store: JobStore) -> LiveService:
    """The running service over an empty store."""
    return shared_service


@pytest.fixture
def client(service: LiveService) -> httpx.Client:
    """Talks to the service."""
    return service.client


@pytest.fixture
def worker(store: JobStore) -> WorkerHand:
    """The worker's side, by hand."""
    return WorkerHand(store)
