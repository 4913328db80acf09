"""Places for blobs: a folder, and a bucket of a real S3 server. A folder's ``conftest.py`` imports what it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blob_store.place import BlobStore
from tests.s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the session; this process finds it, too."""
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["folder", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """An empty place for contents of any size."""
    if request.param == "folder":
        return BlobStore(f"file://{tmp_path}/blobs", least_bytes=0, reserve_bytes=0)
    server: S3Server = request.getfixturevalue("s3")
    return BlobStore(f"{server.url}/{tmp_path.name}", least_bytes=0)
