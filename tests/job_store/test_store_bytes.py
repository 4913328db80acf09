"""What an owner's jobs and results take of the store is counted, and comes back to zero."""

import time
from dataclasses import replace

import pytest

from api_schemas.errors import QuotaExceeded, UnknownBatch
from job_store import jobs
from job_store.ids import new_batch_id
from job_store.keys import usage
from job_store.reaper import erase_old
from job_store.records import Idempotency, Limits, Retention
from job_store.store import JobStore
from job_store.submission import create
from tests.stored_jobs import RETENTION, new_job, submit, work_off

LIMITS = Limits(store_bytes=20_000)


def _used(store: JobStore, owner: str = "local") -> int:
    return store.run(usage(owner, Limits())).store_bytes


def test_jobs_and_results_count_until_they_are_erased(store: JobStore) -> None:
    """However they end, and however they are erased."""
    submit(store, first := new_job(digest="same"), owner="a")
    assert _used(store, "a") > 4096 and _used(store, "b") == 0
    work_off(store)
    submit(store, cached := new_job(digest="same"), cancelled := new_job(), owner="a")
    store.run(jobs.cancel(cancelled.id))
    submit(store, queued := new_job(), owner="a")
    for job in (first, cached, cancelled, queued):
        store.run(jobs.delete(job.id))
    assert _used(store, "a") == 0 and store.client.hgetall("pp:bytes") == {}


def test_a_result_to_come_counts_as_estimated(store: JobStore) -> None:
    """So that a key cannot queue more than will fit."""
    submit(store, job := replace(new_job(), result_bytes=1_000_000))
    assert _used(store) > 1_000_000
    work_off(store)
    assert _used(store) < 10_000
    store.run(jobs.delete(job.id))
    assert _used(store) == 0


def test_jobs_that_are_answered_at_once_count_too(store: JobStore) -> None:
    """They never wait, so that no other limit holds for them."""
    submit(store, new_job(digest="same"))
    work_off(store)
    for _ in range(2):
        assert submit(store, new_job(digest="same"), limits=LIMITS).cached == (True,)
    with pytest.raises(QuotaExceeded, match=r"store_bytes: this key is allowed 20000 .*Delete jobs, or wait"):
        submit(store, *(new_job(digest="same") for _ in range(3)), limits=LIMITS)
    assert submit(store, new_job(digest="same"), owner="other", limits=LIMITS).cached == (False,)


def test_retention_gives_the_bytes_back(store: JobStore) -> None:
    """First those of the result, then those of the record."""
    submit(store, new_job(), retention=Retention(result_s=0.0, record_s=0.0))
    work_off(store)
    assert _used(store) > 0
    store.run(erase_old())
    assert _used(store) == 0


def test_a_batch_goes_with_its_last_job(store: JobStore) -> None:
    """Its record alone would be kept for weeks, and nobody's limit would hold for it."""
    batch_id, members = new_batch_id(), [new_job() for _ in range(2)]
    submit(store, *members, batch_id=batch_id)
    store.run(jobs.delete(members[0].id))
    assert len(store.run(jobs.batch(batch_id)).jobs) == 1
    store.run(jobs.delete(members[1].id))
    with pytest.raises(UnknownBatch):
        store.run(jobs.batch(batch_id))


def test_of_an_owners_names_for_requests_the_latest_are_remembered(store: JobStore) -> None:
    """Each is kept for a day, also after its job was erased: a hundred thousand at most."""
    soon_ms = 1000 * time.time() + 60_000
    store.client.zadd("pp:idempotencies:local", {f"old-{number}": soon_ms + number for number in range(100_000)})
    store.client.hset("pp:idempotency:local|old-0", "body", "x")
    named = Idempotency("new", "digest")
    store.run(create("local", [new_job()], limits=Limits(), retention=RETENTION, idempotency=named))
    assert store.client.zcard("pp:idempotencies:local") == 100_000
    assert store.client.keys("pp:idempotency:*") == [b"pp:idempotency:local|new"]
