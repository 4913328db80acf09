"""Large contents outside the job store: written first, checked when read, erased with their job."""

import asyncio
from pathlib import Path

import pytest

from api_schemas.errors import DamagedData, QuotaExceeded, StoreUnavailable, UnknownJob
from blob_store.place import BlobStore
from job_store import jobs
from job_store.reaper import erase_old
from job_store.records import Limits
from job_store.shards import complete, finish_phase, outputs, with_contents
from job_store.store import AsyncJobStore, JobStore
from job_store.submission import find_cached
from job_store.sweeper import Sweeper
from tests.embedded_valkey import EmbeddedValkey
from tests.stored_jobs import hand_in, must_take, new_job, submit

LARGE = bytes(range(256)) * 400


@pytest.fixture
def big(store: JobStore, blobs: BlobStore) -> JobStore:
    """The store, with every content in blobs."""
    return JobStore(store.client, blobs)


def swept(valkey: EmbeddedValkey, blobs: BlobStore, times: int = 0) -> list[str]:
    """What is left after garbage, and orphans so many times, were swept."""

    async def sweep() -> None:
        store = AsyncJobStore.connect(valkey.url)
        sweeper = Sweeper(store, blobs)
        await sweeper.sweep(least_age_s=0)
        for _ in range(times):
            await sweeper.sweep_orphans()
        await store.close()

    asyncio.run(sweep())
    return [*blobs.prefixes("work"), *blobs.prefixes("results")]


def complete_job(store: JobStore, **settings: object) -> str:
    """A job of one shard with a large result; its id."""
    (job_id,) = submit(store, new_job(), **settings).job_ids
    handed = store.run(hand_in(must_take(store), LARGE))
    assert handed.assembly is not None
    store.run(complete(handed.assembly, b"{}", LARGE))
    return job_id


def test_a_job_of_two_phases_leaves_only_its_result(big: JobStore, blobs: BlobStore, valkey: EmbeddedValkey) -> None:
    """Inputs, outputs and carry come back as they were; at the job's end they are erased, with the job all is."""
    submit(big, job := new_job(shards=2))
    first, second = must_take(big), must_take(big)
    assert first.stored_input.startswith(b"blob:") and with_contents(big, first).input_json == job.shards[0].encode()
    big.run(hand_in(first, LARGE, phases=2))
    assembly = big.run(hand_in(second, b"second", phases=2)).assembly
    assert assembly is not None and big.run(outputs(assembly, 0, 2)) == (LARGE, b"second")
    big.run(finish_phase(assembly, LARGE))
    third = must_take(big)
    assert with_contents(big, third).carry == LARGE
    big.run(hand_in(third, LARGE, phases=2))
    last = big.run(hand_in(must_take(big), LARGE, phases=2)).assembly
    assert last is not None and with_contents(big, last).carry == LARGE
    big.run(complete(last, b"{}", LARGE))
    result = big.run(jobs.result(job.id))
    assert result is not None and (result.head, result.arrays) == (b"{}", LARGE)
    assert swept(valkey, blobs) == [f"results/{job.id}"]
    assert big.run(jobs.get(job.id)).result_bytes == len(LARGE) + 2
    big.run(jobs.delete(job.id))
    assert swept(valkey, blobs) == []
    assert big.client.exists("pp:blobs:garbage", "pp:result_bytes", "pp:results") == 0


def test_a_result_that_two_jobs_share_stays_for_the_second(
    big: JobStore, blobs: BlobStore, valkey: EmbeddedValkey
) -> None:
    """Deleting one must not take the other's numbers."""
    submit(big, first := new_job(digest="same"))
    handed = big.run(hand_in(must_take(big), LARGE))
    assert handed.assembly is not None
    big.run(complete(handed.assembly, b"{}", LARGE))
    submit(big, second := new_job(digest="same"))
    big.run(jobs.delete(first.id))
    assert swept(valkey, blobs, times=2) == [f"results/{first.id}"]
    result = big.run(jobs.result(second.id))
    assert result is not None and result.arrays == LARGE


def test_a_flipped_bit_or_a_missing_blob_is_never_a_number(store: JobStore, tmp_path: Path) -> None:
    """The digest is the record's; what damages the blob cannot change it."""
    big = JobStore(store.client, BlobStore(f"file://{tmp_path}", least_bytes=1000))
    job_id = complete_job(big)
    (file,) = (tmp_path / "results" / job_id).iterdir()
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedData, match="digest does not match"):
        big.run(jobs.result(job_id))
    file.unlink()
    with pytest.raises(DamagedData, match="is missing from the blob store"):
        big.run(jobs.result(job_id))
    assert big.run(jobs.drop_damaged(job_id)) == 1
    assert big.run(jobs.result(job_id)) is None


def test_small_contents_stay_in_the_store(store: JobStore, tmp_path: Path) -> None:
    """A job of usual size costs no file at all."""
    blobs = BlobStore(f"file://{tmp_path}", least_bytes=len(LARGE) + 1)
    job_id = complete_job(JobStore(store.client, blobs))
    assert list(tmp_path.iterdir()) == []
    result = store.run(jobs.result(job_id))
    assert result is not None and result.arrays == LARGE


def test_a_process_without_the_place_or_with_another_waits(store: JobStore, tmp_path: Path) -> None:
    """Nothing is dropped, and nothing is written where the others would not find it."""
    right = JobStore(store.client, BlobStore(f"file://{tmp_path}/right", least_bytes=0))
    job_id = complete_job(right)
    with pytest.raises(StoreUnavailable, match="PATHPATCH_BLOBS is not set here"):
        store.run(jobs.result(job_id))
    wrong = JobStore(store.client, BlobStore(f"file://{tmp_path}/wrong", least_bytes=0))
    with pytest.raises(StoreUnavailable, match="another place"):
        wrong.run(jobs.result(job_id))
    with pytest.raises(StoreUnavailable, match="another place"):
        submit(wrong, job := new_job())
    with pytest.raises(UnknownJob):
        store.run(jobs.get(job.id))
    assert right.run(jobs.result(job_id)) is not None


def test_a_refused_job_leaves_no_blob(big: JobStore, blobs: BlobStore) -> None:
    """Whoever is over a limit must not fill the disk by trying."""
    with pytest.raises(QuotaExceeded):
        submit(big, new_job(), limits=Limits(queued_jobs=0))
    assert blobs.prefixes("work") == []


def test_limits_on_bytes_count_what_is_in_blobs(big: JobStore) -> None:
    """A key's bytes are its jobs' and results', wherever they are."""
    complete_job(big)
    with pytest.raises(QuotaExceeded, match="store_bytes"):
        submit(big, new_job(), limits=Limits(store_bytes=len(LARGE) + 3000))


def test_orphans_are_erased_at_the_second_look(big: JobStore, blobs: BlobStore, valkey: EmbeddedValkey) -> None:
    """A crash between blob and record leaves one; one look is not enough, since a job may just be written."""
    blobs.put("work/job_lost/input-0-aa", b"x")
    blobs.put("results/job_lost/arrays-aa", b"x")
    submit(big, waiting := new_job())
    assert len(swept(valkey, blobs, times=1)) == 3
    assert swept(valkey, blobs, times=2) == [f"work/{waiting.id}"]


def test_the_oldest_results_go_above_the_bytes_allowed(big: JobStore, blobs: BlobStore, valkey: EmbeddedValkey) -> None:
    """Their records stay as long as they would have, and say that there was a result."""
    first, second, third = (complete_job(big) for _ in range(3))
    assert big.run(erase_old(most_bytes=0)) == ()
    assert big.run(erase_old(most_bytes=2 * len(LARGE) + 4)) == (first,)
    assert big.run(jobs.result(first)) is None and big.run(jobs.get(first)).result_expired
    assert big.run(find_cached(big.run(jobs.get(first)).facts.spec_sha256, "local")) is None
    assert swept(valkey, blobs) == [f"results/{second}", f"results/{third}"]
    kept, expired = (big.client.zscore("pp:retention", job_id) for job_id in (second, first))
    assert expired - kept > 29 * 86400 * 1000
    assert int(big.client.get("pp:result_bytes")) == 2 * (len(LARGE) + 2)


def test_nothing_is_accepted_while_the_bucket_is_away(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told to try again."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match="blob store does not answer"):
        submit(JobStore(store.client, BlobStore("s3://bucket", least_bytes=0)), job := new_job())
    with pytest.raises(UnknownJob):
        store.run(jobs.get(job.id))
