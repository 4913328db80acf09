"""One real broker and one real service for the tests over HTTP; each test starts with an empty store."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, live_service
from tests.store_fixtures import store, valkey

__all__ = ["store", "valkey"]


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
