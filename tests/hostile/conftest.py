"""One service that needs keys; an attacker's key, and another one that goes on working while the attack runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, live_service
from tests.store_fixtures import store, valkey
from tests.two_keys import ADMIN, Bystander, Key, new_key

__all__ = ["store", "valkey"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here starts real processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def hostile_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the service writes its log."""
    return tmp_path_factory.mktemp("hostile") / "service.log"


@pytest.fixture(scope="session")
def shared_guarded(valkey: EmbeddedValkey, hostile_log: Path) -> Iterator[LiveService]:
    """A service that needs keys, with budgets small enough to be filled in a test."""
    budgets = {
        "max_key_body_bytes": str(4 * 2**20),
        "max_all_body_bytes": str(6 * 2**20),
        "max_body_bytes": str(2**20),
        "max_event_streams": "8",
        "max_event_streams_per_key": "4",
    }
    with live_service(valkey, hostile_log, admin_key=ADMIN, **budgets) as service:
        yield service


@pytest.fixture
def guarded(shared_guarded: LiveService, store: JobStore) -> LiveService:
    """It, over an empty store."""
    return shared_guarded


@pytest.fixture
def attacker(guarded: LiveService) -> Key:
    """A key that may read and submit, as anybody's."""
    return new_key(guarded, "attacker")


@pytest.fixture
def bystander(guarded: LiveService) -> Iterator[Bystander]:
    """Another key, which submits and polls from the beginning of the test to its end and is never refused."""
    with Bystander(guarded, new_key(guarded, "bystander")) as working:
        yield working


@pytest.fixture
def worker(store: JobStore) -> WorkerHand:
    """The worker's side, by hand."""
    return WorkerHand(store)
