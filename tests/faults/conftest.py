"""One broker, one service and two workers for all fault tests; whatever a test kills is started again for the next."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from job_store.store import JobStore
from tests.deployment import Deployment
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here starts real processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def fault_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs, and processed weights that every worker shares."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def valkey(fault_folder: Path) -> Iterator[EmbeddedValkey]:
    """The broker."""
    with embedded_valkey(fault_folder / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def session_deployment(valkey: EmbeddedValkey, fault_folder: Path) -> Iterator[Deployment]:
    """All processes."""
    deployment = Deployment(valkey, fault_folder)
    try:
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture
def deployment(session_deployment: Deployment) -> Deployment:
    """All processes, whole again after the test before."""
    session_deployment.repair()
    return session_deployment


@pytest.fixture
def store(deployment: Deployment) -> JobStore:
    """The store of the deployment."""
    return deployment.store
