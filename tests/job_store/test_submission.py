"""Creating jobs: all or none, once per idempotency key, within the key's limits."""

import json

import pytest

from api_schemas.errors import IdempotencyKeyInFlight, IdempotencyKeyReused, QuotaExceeded, StoreFull
from job_store import jobs
from job_store.digest import spec_sha256
from job_store.gauges import jobs_by_state
from job_store.ids import new_batch_id, new_job_id
from job_store.records import Idempotency, Limits, NewJob
from job_store.store import JobStore
from job_store.submission import CacheGone, find_cached, reserve, unreserve
from tests.embedded_valkey import EmbeddedValkey
from tests.nudges import nudge
from tests.stored_jobs import new_job, submit, take, tiny_spec, work_off


def test_the_same_key_and_body_make_one_job(store: JobStore) -> None:
    """A client that lost the reply asks again and gets the same job."""
    first = submit(store, new_job(), idempotency=Idempotency("k", "b"))
    again = submit(store, new_job(), idempotency=Idempotency("k", "b"))
    assert not first.replayed and again.replayed and again.job_ids == first.job_ids
    assert store.run(jobs_by_state())["queued"] == 1


def test_the_same_key_with_another_body_is_refused(store: JobStore) -> None:
    """It is a mistake of the client, and must not pass for success."""
    submit(store, new_job(), idempotency=Idempotency("k", "b"))
    with pytest.raises(IdempotencyKeyReused):
        submit(store, new_job(), idempotency=Idempotency("k", "other"))


def test_keys_of_two_owners_do_not_meet(store: JobStore) -> None:
    """Two people may both number their requests from 1."""
    first = submit(store, new_job(), owner="a", idempotency=Idempotency("1", "b"))
    second = submit(store, new_job(), owner="b", idempotency=Idempotency("1", "c"))
    assert first.job_ids != second.job_ids


def test_a_reserved_key_is_in_flight_until_created_or_given_up(store: JobStore) -> None:
    """Two equal requests at once: the second is told to wait."""
    key = Idempotency("k", "b")
    assert store.run(reserve("local", key)) is None
    with pytest.raises(IdempotencyKeyInFlight):
        store.run(reserve("local", key))
    with pytest.raises(IdempotencyKeyReused):
        store.run(reserve("local", Idempotency("k", "other")))
    store.run(unreserve("local", "k"))
    assert store.run(reserve("local", key)) is None
    created = submit(store, new_job(), idempotency=key)
    replay = store.run(reserve("local", key))
    assert replay is not None and replay.replayed and replay.job_ids == created.job_ids
    store.run(unreserve("local", "k"))
    assert store.run(reserve("local", key)) == replay


def test_creating_again_after_a_lost_reply_changes_nothing(store: JobStore) -> None:
    """The service sends a step again when its connection broke."""
    job = new_job(shards=2)
    assert submit(store, job).job_ids == submit(store, job).job_ids == (job.id,)
    assert len(work_off(store)) == 2


def test_a_batch_over_the_quota_makes_no_job(store: JobStore) -> None:
    """All or none."""
    with pytest.raises(QuotaExceeded, match="queued_jobs"):
        submit(store, new_job(), new_job(), new_job(), limits=Limits(queued_jobs=2), batch_id=new_batch_id())
    assert store.run(jobs_by_state())["queued"] == 0
    submit(store, new_job(), new_job(), limits=Limits(queued_jobs=2))
    with pytest.raises(QuotaExceeded):
        submit(store, new_job(), limits=Limits(queued_jobs=2))


def test_submits_per_minute_come_back_with_time(store: JobStore) -> None:
    """The answer says when to try again."""
    limits = Limits(submits_per_minute=2)
    submit(store, new_job(), new_job(), limits=limits)
    with pytest.raises(QuotaExceeded) as refused:
        submit(store, new_job(), limits=limits)
    assert refused.value.limit == "submits_per_minute" and 25 < refused.value.retry_after_s <= 30


def test_compute_seconds_of_the_day_run_out(store: JobStore) -> None:
    """The day's compute is what its shards took, by the store's clock."""
    submit(store, new_job())
    held = take(store)
    assert held is not None
    store.client.hset(f"pp:job:{held.job_id}:shards", "claimed:0/0", 1)
    from tests.stored_jobs import hand_in

    store.run(hand_in(held))
    with pytest.raises(QuotaExceeded, match="compute_s_per_day"):
        submit(store, new_job(), limits=Limits(compute_s_per_day=100.0))


def test_an_equal_spec_is_answered_from_the_earlier_result(store: JobStore) -> None:
    """Nobody computes the same thing twice, and each job owns its answer."""
    first = new_job(digest="same")
    submit(store, first)
    work_off(store)
    assert store.run(find_cached("same", "local")) == first.id
    second = NewJob(new_job_id(), first.spec, first.facts, ())
    created = submit(store, second)
    assert created.cached == (True,)
    record = store.run(jobs.get(second.id))
    assert (record.status, record.cached, record.done, record.total) == ("succeeded", True, 1, 1)
    store.run(jobs.delete(first.id))
    assert store.run(jobs.result(second.id)) is not None
    assert submit(store, NewJob(new_job_id(), first.spec, first.facts, ())).cached == (True,)


def test_an_answer_from_an_earlier_result_is_recorded_like_a_job_that_ran(store: JobStore) -> None:
    """It is written in one go, and found, told, counted and erased as if it had been queued and run."""
    about = {"digest": "same", "webhook_url": "https://example.org", "tags": {"kind": "x"}, "name": "Twice"}
    ran, answered = new_job(**about), new_job(**about)
    submit(store, ran, batch_id=new_batch_id())
    work_off(store)
    assert submit(store, answered, batch_id=new_batch_id()).cached == (True,)
    records = [store.client.hgetall(f"pp:job:{job.id}") for job in (ran, answered)]
    assert records[0].keys() - {b"computing", b"progressed"} == records[1].keys()
    same = records[0].keys() - {b"computing", b"progressed", b"id", b"batch", b"version", b"attempt", b"cached"}
    times = {b"created", b"started", b"finished"}
    assert {name: records[0][name] for name in same - times} == {name: records[1][name] for name in same - times}
    indexes = [key for key in store.client.keys("pp:index:*") if store.client.zcard(key)]
    assert all(store.client.zscore(key, answered.id) == 0 for key in indexes) and len(indexes) == 8
    told = store.run(jobs.events(answered.id)).events
    assert [event.data for event in told] == [{"status": "queued"}, {"status": "succeeded"}]
    assert store.run(jobs.get(answered.id)).version == len(told)
    for due in ("pp:retention", "pp:hooks", "pp:hooks:of:local"):
        assert store.client.zcard(due) == 2
    for job in (ran, answered):
        store.run(jobs.delete(job.id))
    assert not store.client.hgetall("pp:bytes") and not store.client.keys("pp:job:*")


def test_the_last_job_takes_its_result_along(store: JobStore) -> None:
    """Erasing every job of a result erases the result, and the cache does not point into nothing."""
    first = new_job(digest="same")
    submit(store, first)
    work_off(store)
    store.run(jobs.delete(first.id))
    assert store.run(find_cached("same", "local")) is None
    assert not store.client.keys("pp:result:*")
    with pytest.raises(CacheGone):
        submit(store, NewJob(new_job_id(), first.spec, first.facts, ()))


def test_another_owner_or_use_cache_false_computes_again(store: JobStore) -> None:
    """A cached answer would tell one owner what another has asked."""
    submit(store, new_job(digest="same"))
    work_off(store)
    assert submit(store, new_job(digest="same"), owner="other").cached == (False,)
    assert submit(store, new_job(digest="same", use_cache=False)).cached == (False,)


def test_the_digest_leaves_out_what_does_not_change_the_result() -> None:
    """Tags, priority, deadline and webhook are about the job, not about the numbers."""
    plain = spec_sha256(tiny_spec(), "r")
    assert plain == spec_sha256(
        tiny_spec(tags={"a": "b"}, priority="low", expires_after_s=5.0, webhook={"url": "https://x"}), "r"
    )
    assert plain != spec_sha256(tiny_spec(), "other")
    assert plain != spec_sha256(tiny_spec(dtype="bfloat16"), "r")


def test_a_full_store_refuses_and_keeps_no_half_job(store: JobStore) -> None:
    """What cannot be kept must not be accepted."""
    store.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreFull):
            submit(store, new_job(shards=50))
    finally:
        store.client.config_set("maxmemory", 0)
    assert store.client.keys("pp:*") == []


def test_nudges_are_as_many_as_shards_up_to_a_few(store: JobStore) -> None:
    """Messages only wake workers; thousands of them would only be dropped again."""
    submit(store, new_job(shards=3))
    assert store.client.llen("patch.demo") == 3
    submit(store, new_job(shards=500))
    assert store.client.llen("patch.demo") == 32
    store.client.ltrim("patch.demo", 0, 29)
    submit(store, new_job())
    assert store.client.llen("patch.demo") == 32
    ids = {json.loads(message)["headers"]["id"] for message in store.client.lrange("patch.demo", 0, -1)}
    assert len(ids) == 32, "Celery tells messages apart by their ids"


def test_a_nudge_is_the_message_that_celery_sends(store: JobStore, valkey: EmbeddedValkey) -> None:
    """But for its ids: a step pushes it, and workers receive it as any other."""
    submit(store, new_job())
    nudge(valkey.url, "demo")
    theirs, ours = map(json.loads, store.client.lrange("patch.demo", 0, -1))
    assert ours["headers"]["id"] == ours["properties"]["delivery_tag"] != theirs["headers"]["id"]
    for message in (ours, theirs):
        for part, own in (("headers", ("id", "root_id", "origin")), ("properties", ("correlation_id", "reply_to"))):
            assert all(message[part].pop(name) for name in own)
        assert message["properties"].pop("delivery_tag")
    assert ours == theirs


def test_warnings_become_events(store: JobStore) -> None:
    """Whoever watches the job sees them without asking for validation."""
    from dataclasses import replace

    job = new_job()
    submit(store, replace(job, facts=replace(job.facts, warnings=("orig equals new",))))
    page = store.run(jobs.events(job.id))
    assert [(event.type, event.data) for event in page.events] == [
        ("status", {"status": "queued"}),
        ("warning", {"message": "orig equals new"}),
    ]
