"""Reading, listing, cancelling and deleting jobs."""

import pytest

from api_schemas.errors import JobNotCancellable, JobStillRunning, UnknownBatch, UnknownJob
from job_store import jobs, reaper
from job_store.ids import new_batch_id, new_job_id
from job_store.records import Retention
from job_store.shards import heartbeat
from job_store.store import JobStore
from tests.stored_jobs import hand_in, must_take, new_job, submit, take, work_off


def test_another_owners_job_does_not_exist(store: JobStore) -> None:
    """Not even its existence is told."""
    job = new_job()
    submit(store, job, owner="a")
    for step in (jobs.get, jobs.cancel, jobs.delete, jobs.events, jobs.result):
        with pytest.raises(UnknownJob):
            store.run(step(job.id, "b"))  # type: ignore[operator]
    assert store.run(jobs.get(job.id, "a")).owner == "a"
    assert store.run(jobs.get(job.id)).id == job.id


def test_a_queued_job_is_cancelled_at_once(store: JobStore) -> None:
    """Nothing of it runs afterwards."""
    job = new_job(shards=3)
    submit(store, job)
    assert store.run(jobs.cancel(job.id)) == "cancelled"
    assert store.run(jobs.cancel(job.id)) == "cancelled"
    assert take(store) is None


def test_a_running_job_is_cancelled_when_its_shards_have_stopped(store: JobStore) -> None:
    """The worker learns it at its next heartbeat; what it hands in is dropped."""
    job = new_job(shards=2)
    submit(store, job)
    held = must_take(store)
    assert store.run(jobs.cancel(job.id)) == "cancelling"
    assert take(store) is None and store.run(heartbeat(held, 10)) == "cancelled"
    assert store.run(hand_in(held)).outcome == "cancelled"
    assert store.run(jobs.get(job.id)).status == "cancelled"


def test_a_cancelling_job_whose_worker_died_is_cancelled_by_the_reaper(store: JobStore) -> None:
    """Nobody waits for a dead worker."""
    job = new_job()
    submit(store, job)
    must_take(store, lease_s=0.0)
    assert store.run(jobs.cancel(job.id)) == "cancelling"
    store.run(reaper.lapse_leases())
    assert store.run(jobs.get(job.id)).status == "cancelled"


def test_a_job_can_be_cancelled_while_it_is_assembled(store: JobStore) -> None:
    """Terminal states never change, so the assembly must not make it succeed afterwards."""
    from job_store.shards import complete

    job = new_job()
    submit(store, job)
    assembly = store.run(hand_in(must_take(store))).assembly
    assert assembly is not None and store.run(jobs.cancel(job.id)) == "cancelling"
    assert store.run(complete(assembly, b"head", b"")).outcome == "cancelled"
    assert store.run(jobs.get(job.id)).status == "cancelled" and store.run(jobs.result(job.id)) is None


def test_a_job_that_has_succeeded_cannot_be_cancelled(store: JobStore) -> None:
    """The client is told that it came too late."""
    job = new_job()
    submit(store, job)
    work_off(store)
    with pytest.raises(JobNotCancellable, match="succeeded"):
        store.run(jobs.cancel(job.id))


def test_deleting_leaves_no_key_behind(store: JobStore) -> None:
    """Erased means erased: record, events, inputs, result, indexes."""
    ended, queued = new_job(tags={"a": "b"}), new_job(shards=2)
    submit(store, ended)
    work_off(store)
    submit(store, queued)
    store.run(jobs.delete(ended.id))
    store.run(jobs.delete(queued.id))
    left = {key.decode() for key in store.client.keys("pp:*")}
    assert left <= {"pp:totals", "pp:turn", "pp:fence", "pp:claimable", "pp:models", "pp:rates:demo"} | {
        key for key in left if key.startswith("pp:compute:")
    }
    assert int(store.client.hget("pp:claimable", "demo")) == 0
    with pytest.raises(UnknownJob):
        store.run(jobs.get(ended.id))


def test_a_running_job_cannot_be_deleted(store: JobStore) -> None:
    """Cancel it first."""
    job = new_job()
    submit(store, job)
    must_take(store)
    with pytest.raises(JobStillRunning, match="running"):
        store.run(jobs.delete(job.id))


def test_lists_are_newest_first_and_pages_meet_without_overlap(store: JobStore) -> None:
    """Also when the last job of a page was deleted meanwhile."""
    created = [new_job() for _ in range(7)]
    for job in created:
        submit(store, job)
    newest = [job.id for job in reversed(created)]
    page = store.run(jobs.list_jobs("local", limit=3))
    assert [record.id for record in page.records] == newest[:3] and page.has_more
    store.run(jobs.delete(newest[2]))
    page = store.run(jobs.list_jobs("local", limit=4, after=newest[2]))
    assert [record.id for record in page.records] == newest[3:] and not page.has_more
    assert store.run(jobs.list_jobs("other")).records == ()
    assert len(store.run(jobs.list_jobs(None)).records) == 6


def test_lists_filter_by_state_model_and_tag(store: JobStore) -> None:
    """Filters hold together, over more jobs than are looked at in one go."""
    wanted = new_job(tags={"experiment": "a:b"})
    submit(store, wanted)
    for _ in range(250):
        submit(store, new_job(tags={"experiment": "other"}))
    submit(store, gpt2 := new_job(model={"name": "gpt2-small"}, tags={"experiment": "a:b"}))
    store.run(jobs.cancel(gpt2.id))

    def ids(**filters: object) -> list[str]:
        return [record.id for record in store.run(jobs.list_jobs("local", **filters)).records]  # type: ignore[arg-type]

    assert ids(tag=("experiment", "a:b")) == [gpt2.id, wanted.id]
    assert ids(tag=("experiment", "a:b"), status="queued") == [wanted.id]
    assert ids(tag=("experiment", "a:b"), model="gpt2-small", status="cancelled") == [gpt2.id]
    assert ids(status="cancelled", model="demo") == []


def test_lists_find_a_part_of_the_name_in_either_case(store: JobStore) -> None:
    """Together with the other filters; what has no name is not found, and no letter is a pattern."""
    submit(store, movers := new_job(name="What the Name Movers listen to (50%)"))
    submit(store, straße := new_job(name="STRASSE", tags={"experiment": "a"}))
    submit(store, new_job())

    def ids(**filters: object) -> list[str]:
        return [record.id for record in store.run(jobs.list_jobs("local", **filters)).records]  # type: ignore[arg-type]

    assert ids(name="name movers") == [movers.id]
    assert ids(name="(50%)") == [movers.id]
    assert ids(name="straße") == ids(name="S", tag=("experiment", "a")) == [straße.id]
    assert ids(name="%a") == ids(name="movers", tag=("experiment", "a")) == []
    assert len(ids(name="")) == 3


def test_events_resume_without_gap_or_repeat(store: JobStore) -> None:
    """A watcher that reconnects with the last id sees the rest, once."""
    job = new_job(shards=3)
    submit(store, job)
    work_off(store)
    seen, after = [], "0"
    while True:
        page = store.run(jobs.events(job.id, after=after, limit=2))
        seen += page.events
        if not page.has_more:
            break
        after = page.events[-1].id
    assert [event.data.get("status") or event.data["done"] for event in seen] == [
        "queued",
        "running",
        1,
        2,
        3,
        "succeeded",
    ]
    assert page.is_done and sorted({event.id for event in seen}) == [event.id for event in seen]


def test_the_version_changes_with_every_event(store: JobStore) -> None:
    """The ETag of the record."""
    job = new_job()
    submit(store, job)
    versions = [store.run(jobs.get(job.id)).version]
    held = must_take(store)
    versions.append(store.run(jobs.get(job.id)).version)
    store.run(hand_in(held))
    versions.append(store.run(jobs.get(job.id)).version)
    assert versions == sorted(set(versions))


def test_a_deadline_ends_the_job_whatever_it_does(store: JobStore) -> None:
    """Queued, or running: expired, and late work is refused."""
    running, queued = new_job(expires_after_s=0.001), new_job(expires_after_s=0.001, shards=2)
    submit(store, running)
    store.client.hdel(f"pp:job:{running.id}", "deadline")
    held = must_take(store)
    submit(store, queued)
    import time

    time.sleep(0.01)
    assert take(store) is None
    assert set(store.run(reaper.expire_jobs())) == {running.id}
    assert {store.run(jobs.get(job.id)).status for job in (running, queued)} == {"expired"}
    assert store.run(hand_in(held)).outcome == "lost"


def test_results_expire_before_their_records_do(store: JobStore) -> None:
    """First the record tells that there was a result, later it is gone too."""
    job = new_job()
    submit(store, job, retention=Retention(result_s=0.0, record_s=1000.0))
    work_off(store)
    assert store.run(reaper.erase_old()) == (job.id,)
    record = store.run(jobs.get(job.id))
    assert record.result_expired and record.status == "succeeded" and store.run(jobs.result(job.id)) is None
    store.client.hset(f"pp:job:{job.id}", "record_retention", 0)
    store.client.zadd("pp:retention", {job.id: 0})
    store.run(reaper.erase_old())
    with pytest.raises(UnknownJob):
        store.run(jobs.get(job.id))


def test_a_batch_counts_its_jobs_and_cancels_them(store: JobStore) -> None:
    """One handle for many jobs."""
    batch_id, members = new_batch_id(), [new_job() for _ in range(3)]
    created = submit(store, *members, batch_id=batch_id)
    assert created.batch_id == batch_id
    store.run(jobs.cancel(members[0].id))
    assert store.run(jobs.get(members[1].id)).batch_id == batch_id
    record = store.run(jobs.batch(batch_id, "local"))
    assert [status for _, status in record.jobs] == ["cancelled", "queued", "queued"]
    assert {status for _, status in store.run(jobs.cancel_batch(batch_id)).jobs} == {"cancelled"}
    with pytest.raises(UnknownBatch):
        store.run(jobs.batch(batch_id, "other"))


def test_nothing_hangs_after_the_data_is_gone(store: JobStore) -> None:
    """A worker that comes back to an emptied store is told that its shard is lost."""
    submit(store, new_job())
    held = must_take(store)
    store.client.flushall()
    assert store.run(heartbeat(held, 10)) == "lost" and store.run(hand_in(held)).outcome == "lost"
    assert take(store) is None and store.run(reaper.lapse_leases()) == ()
    with pytest.raises(UnknownJob):
        store.run(jobs.get(held.job_id))


def test_ids_increase() -> None:
    """Lists are sorted by id."""
    ids = [new_job_id() for _ in range(1000)]
    assert ids == sorted(ids) and len(set(ids)) == 1000
