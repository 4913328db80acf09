"""Blobs in a folder and in a bucket: kept, missing, erased, and what a full or absent place answers."""

import resource
from pathlib import Path

import pytest

from api_schemas.errors import DamagedData, StoreFull, StoreUnavailable
from blob_store.place import BlobStore


def test_what_was_put_is_got(blobs: BlobStore) -> None:
    """Byte for byte, an empty one too."""
    for content in (b"", b"\0numbers\xff" * 1000):
        blobs.put("results/job_1/arrays-1", content)
        assert blobs.get("results/job_1/arrays-1") == content


def test_a_missing_blob_is_not_an_absent_place(blobs: BlobStore) -> None:
    """A blob that is gone costs its result; a folder that is not mounted must cost nothing, and is waited for."""
    with pytest.raises(StoreUnavailable, match="empty, or not there"):
        blobs.get("results/job_1/arrays-1")
    blobs.identity(is_new=True)
    with pytest.raises(DamagedData, match="results/job_1/arrays-1 is missing"):
        blobs.get("results/job_1/arrays-1")


def test_a_place_keeps_its_name(blobs: BlobStore) -> None:
    """By it another folder of the same path is known, such as that of another machine."""
    assert blobs.identity(is_new=False) is None
    name = blobs.identity(is_new=True)
    assert name is not None and blobs.identity(is_new=True) == name == blobs.identity(is_new=False)


def test_all_below_a_prefix_is_erased_and_nothing_else(blobs: BlobStore) -> None:
    """The job whose id begins alike stays; what is gone already is no error."""
    for name in ("work/job_1/input-0", "work/job_1/0/output-0", "work/job_12/input-0", "results/job_1/head"):
        blobs.put(name, b"content")
    blobs.erase("work/job_1")
    blobs.erase("work/job_1")
    assert blobs.prefixes("work") == ["work/job_12"] and blobs.prefixes("results") == ["results/job_1"]
    blobs.drop(["work/job_12/input-0", "work/job_12/input-1"])
    assert blobs.prefixes("work") == [] == blobs.prefixes("nothing")


def test_a_full_disk_keeps_no_half_a_blob(tmp_path: Path) -> None:
    """A write that fails is refused as a full store, and can be done again."""
    blobs = BlobStore(f"file://{tmp_path}/a%20b")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        with pytest.raises(StoreFull, match="blob store is full"):
            blobs.put("work/job_1/input-0", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not [path for path in (tmp_path / "a b").rglob("*") if path.is_file()]
    blobs.put("work/job_1/input-0", b"x" * 100_000)
    assert (tmp_path / "a b").stat().st_mode & 0o77 == 0


def test_new_jobs_need_room(tmp_path: Path) -> None:
    """Below the reserve, with the number."""
    BlobStore(f"file://{tmp_path}", reserve_bytes=0).check()
    with pytest.raises(StoreFull, match="Less than 1000000000000 MB"):
        BlobStore(f"file://{tmp_path}", reserve_bytes=10**18).check()


def test_a_bucket_that_is_away_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retryable, and without the address, which is the operator's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreUnavailable) as refused:
        BlobStore("s3://bucket/prefix").put("work/job_1/input-0", b"x")
    assert "127.0.0.1" not in str(refused.value)


@pytest.mark.parametrize("url", ["/folder", "file://host/folder", "file:folder", "s3:///prefix", "gs://bucket", "s3:"])
def test_other_urls_are_refused(url: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match="file:///folder or s3://bucket"):
        BlobStore(url)


def test_settings_of_the_environment() -> None:
    """Unset is none; numbers are whole."""
    assert BlobStore.read({}) is None
    found = BlobStore.read({"PATHPATCH_BLOBS": "s3://bucket", "PATHPATCH_BLOBS_LEAST_BYTES": "7"})
    assert found is not None and found.least_bytes == 7
    with pytest.raises(ValueError, match="PATHPATCH_BLOBS_RESERVE_BYTES is 'much'"):
        BlobStore.read({"PATHPATCH_BLOBS": "s3://bucket", "PATHPATCH_BLOBS_RESERVE_BYTES": "much"})
