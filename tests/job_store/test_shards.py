"""The life of shards: claimed under a lease, kept alive, handed in once."""

import json
from dataclasses import fields, replace

import pytest

from job_store import jobs, reaper
from job_store.reaper import lapse_leases
from job_store.records import JobFacts, JobRecord, Limits, StoredResult
from job_store.schema import SCHEMA
from job_store.shards import claim, complete, fail, finish_phase, heartbeat, outputs, release
from job_store.store import JobStore
from job_store.workers import rates
from tests.stored_jobs import hand_in, hand_in_alone, must_take, new_job, submit, take, work_off


def test_one_shard_runs_through_to_a_result(store: JobStore) -> None:
    """The shortest life: claimed, finished, assembled by the same worker, fetched."""
    job = new_job()
    submit(store, job)
    held = must_take(store)
    assert (held.job_id, held.phase, held.shard, held.attempt) == (job.id, 0, 0, 1)
    assert held.spec == job.spec and held.input_json.decode() == job.shards[0] and held.facts == job.facts
    handed = store.run(hand_in(held))
    assert handed.outcome == "assemble" and handed.assembly is not None
    assert store.run(outputs(handed.assembly, 0, 1)) == (b"output",)
    assert handed.assembly.devices == ("cpu",)
    assert store.run(complete(handed.assembly, b"head", b"arrays")).outcome == "stored"
    record = store.run(jobs.get(job.id))
    assert (record.status, record.done, record.total, record.attempt) == ("succeeded", 1, 1, 1)
    result = store.run(jobs.result(job.id))
    assert result is not None and (result.head, result.arrays) == (b"head", b"arrays")


def test_a_single_shard_is_handed_in_with_its_result(store: JobStore) -> None:
    """One step in place of three leaves the same record, events and measured speed."""

    def life(alone: bool) -> tuple[JobRecord, list[tuple[str, object]]]:
        submit(store, job := new_job())
        held = must_take(store)
        handed = store.run(hand_in_alone(held) if alone else hand_in(held))
        assert handed.assembly is None or store.run(complete(handed.assembly, b"head", b"arrays"))
        found = [(event.type, event.data) for event in store.run(jobs.events(job.id)).events]
        return store.run(jobs.get(job.id)), found

    (record, events), (usual, usual_events) = life(alone=True), life(alone=False)
    assert (record.status, record.done, record.total) == ("succeeded", 1, 1)
    assert store.run(jobs.get_with_result(record.id, most_bytes=10**6))[1] == StoredResult(b"head", b"arrays")
    assert store.run(jobs.get_with_result(record.id, most_bytes=20))[1] is None
    assert store.run(jobs.result(record.id)) == store.run(jobs.result(usual.id)) == StoredResult(b"head", b"arrays")
    assert events == usual_events
    times = {"created_ms", "started_ms", "computing_ms", "progressed_ms", "finished_ms", "now_ms"}
    own = {"id", "spec_json", "facts_json"} | times
    alike = {field.name for field in fields(JobRecord)} - own
    assert all(getattr(record, name) == getattr(usual, name) for name in alike)
    assert all((getattr(record, name) is None) == (getattr(usual, name) is None) for name in times)
    assert store.run(rates("demo")) == {"cpu": 1e9}
    assert store.client.keys("pp:job:*:out:*") == store.client.keys("pp:job:*:shards") == []


def test_a_single_shard_that_was_lost_or_cancelled_leaves_no_result(store: JobStore) -> None:
    """What holds for an assembly holds for the shard that needs none."""
    submit(store, new_job())
    dead = must_take(store, lease_s=0.0)
    store.run(reaper.lapse_leases())
    assert store.run(hand_in_alone(dead)).outcome == "lost"
    heir = must_take(store)
    store.run(jobs.cancel(heir.job_id))
    assert store.run(hand_in_alone(heir)).outcome == "cancelled"
    assert store.run(jobs.get(heir.job_id)).status == "cancelled"
    assert store.run(jobs.result(heir.job_id)) is None


def test_phases_follow_each_other_and_carry_arrays_forward(store: JobStore) -> None:
    """A mean source needs a whole phase over the dataset before the first patched run."""
    job = new_job(shards=2)
    submit(store, job)
    first, second = must_take(store), must_take(store)
    assert store.run(hand_in(second, b"two", phases=2)).assembly is None
    assembly = store.run(hand_in(first, b"one", phases=2)).assembly
    assert assembly is not None and take(store) is None
    assert store.run(outputs(assembly, 0, 2)) == (b"one", b"two")
    store.client.delete("patch.demo")  # messages of the first phase have been received
    handed = store.run(finish_phase(assembly, b"means"))
    assert (handed.outcome, handed.nudges) == ("stored", 2)
    later = must_take(store)
    assert (later.phase, later.carry, later.attempt) == (1, b"means", 1)
    assert store.run(jobs.get(job.id)).total == 4


def test_a_lapsed_lease_gives_the_shard_to_another_worker_and_refuses_the_first(store: JobStore) -> None:
    """A worker back from the dead must not overwrite what its successor does."""
    submit(store, new_job())
    dead = must_take(store, lease_s=0.0)
    assert store.run(reaper.lapse_leases()) == (f"{dead.job_id}|0/0",)
    heir = must_take(store)
    assert (heir.shard, heir.attempt) == (0, 2) and heir.fence > dead.fence
    assert store.run(heartbeat(dead, 10)) == "lost"
    assert store.run(hand_in(dead)).outcome == "lost"
    assert store.run(fail(dead, "internal", "late")).outcome == "lost"
    assert store.run(release(dead)).outcome == "lost"
    assert store.run(hand_in(heir)).outcome == "assemble"


def test_a_heartbeat_keeps_the_lease(store: JobStore) -> None:
    """A slow shard is not a lost one."""
    submit(store, new_job())
    held = must_take(store, lease_s=0.0)
    assert store.run(heartbeat(held, 10)) == "held"
    assert store.run(reaper.lapse_leases()) == ()


def test_three_lost_workers_fail_the_job_and_name_the_shard(store: JobStore) -> None:
    """A poisonous shard must not eat workers for ever, nor harm other jobs."""
    poisoned, other = new_job(shards=2), new_job()
    submit(store, poisoned)
    for attempt in (1, 2, 3):
        held = must_take(store, lease_s=0.0)
        while held.shard != 0:
            held = must_take(store, lease_s=0.0)
        assert held.attempt == attempt
        store.run(reaper.lapse_leases())
    submit(store, other)
    record = store.run(jobs.get(poisoned.id))
    assert (record.status, record.error_code) == ("failed", "worker_lost")
    assert record.error_detail is not None and "Shard" in record.error_detail and "3 times" in record.error_detail
    assert {name.split("/")[0] for name in work_off(store)} == {other.id}


def test_a_lost_assembler_is_replaced(store: JobStore) -> None:
    """Between the last shard and the result somebody may die; the outputs are all there."""
    job = new_job(shards=2)
    submit(store, job)
    held = [must_take(store), must_take(store)]
    store.run(hand_in(held[0]))
    handed = store.run(hand_in(held[1]))
    assert handed.assembly is not None
    store.client.zadd("pp:leases", {f"{job.id}|0/-1": 0})
    store.run(reaper.lapse_leases())
    heir = must_take(store)
    assert heir.is_assembly and heir.attempt == 2 and heir.devices == ("cpu",)
    assert store.run(complete(handed.assembly, b"late", b"")).outcome == "lost"
    assert store.run(complete(heir, b"head", b"")).outcome == "stored"


def test_a_released_shard_costs_no_attempt(store: JobStore) -> None:
    """Restarting workers all day must not fail anybody's job."""
    job = new_job()
    submit(store, job)
    for _ in range(5):
        assert store.run(release(must_take(store))).outcome == "again"
    assert must_take(store).attempt == 1


def test_an_error_that_may_pass_is_tried_three_times(store: JobStore) -> None:
    """An unexpected exception may be the machine's fault; a third one is not."""
    job = new_job()
    submit(store, job)
    for outcome in ("again", "again", "failed"):
        assert store.run(fail(must_take(store), "internal", "boom", try_again=True)).outcome == outcome
    assert store.run(jobs.get(job.id)).error_detail == "boom"


def test_an_error_of_the_spec_fails_the_job_and_stops_its_other_shards(store: JobStore) -> None:
    """The rest of a failed job is wasted work."""
    job = new_job(shards=3)
    submit(store, job)
    first, second = must_take(store), must_take(store)
    assert store.run(fail(first, "checks_failed", "identity was 1e-3")).outcome == "failed"
    assert store.run(heartbeat(second, 10)) == "lost" and take(store) is None
    record = store.run(jobs.get(job.id))
    assert (record.status, record.error_code, record.error_detail) == ("failed", "checks_failed", "identity was 1e-3")


def test_priorities_come_first_then_owners_and_jobs_take_turns(store: JobStore) -> None:
    """Short jobs are not stuck behind long ones, nor one person behind another's night of sweeps."""
    long_a, short_a, b = new_job(shards=3), new_job(), new_job(shards=2)
    low, high = new_job(priority="low"), new_job(priority="high")
    submit(store, low)
    submit(store, long_a, short_a, owner="a")
    submit(store, b, owner="b")
    submit(store, high, owner="b")
    claimed = [must_take(store).job_id for _ in range(8)]
    assert claimed == [high.id, long_a.id, b.id, short_a.id, b.id, long_a.id, long_a.id, low.id]


def test_positions_count_what_is_claimed_before(store: JobStore) -> None:
    """What a client is told about the queue is what then happens."""
    created = [new_job() for _ in range(6)]
    for job, owner in zip(created, "aaabbc", strict=True):
        submit(store, job, owner=owner)
    submit(store, high := new_job(priority="high"), owner="c")
    told = {job.id: store.run(jobs.get(job.id)).position for job in [*created, high]}
    claimed = [must_take(store).job_id for _ in range(7)]
    assert [told[job_id] for job_id in claimed] == list(range(7))


def test_a_key_runs_no_more_shards_than_allowed(store: JobStore) -> None:
    """One key cannot take all workers."""
    submit(store, new_job(shards=4), owner="a", limits=Limits(running_shards=2))
    submit(store, new_job(), owner="b")
    held = [must_take(store) for _ in range(3)]
    assert take(store) is None
    store.run(hand_in(held[0]))
    assert must_take(store).shard == 2


def test_models_have_queues_of_their_own(store: JobStore) -> None:
    """A worker is only given what it serves."""
    submit(store, new_job())
    assert take(store, "gpt2-small") is None and take(store, "demo") is not None


def test_finished_shards_measure_the_rate(store: JobStore) -> None:
    """Of the computation: loading a model says nothing of the device; each phase is its share of the work."""
    from job_store.workers import rates

    submit(store, new_job())
    held = must_take(store)
    store.client.hset(f"pp:job:{held.job_id}:shards", "claimed:0/0", 1)
    store.run(hand_in(held, phases=2, computed_s=4.0))
    assert store.run(rates("demo"))["cpu"] == pytest.approx(1e9 / 2 / 4.0)


def test_tiny_shards_hardly_move_the_measured_rate(store: JobStore) -> None:
    """They are all overhead; after a dozen of them a long job's estimate must still hold."""
    from job_store.workers import rates

    def work(flops: float, seconds: float) -> None:
        job = new_job()
        submit(store, replace(job, facts=replace(job.facts, flops_per_shard=flops)))
        store.run(hand_in(must_take(store), computed_s=seconds))

    work(1e6, 0.02)
    assert store.run(rates("demo")) == {}
    work(1e11, 10.0)
    for _ in range(12):
        work(1e6, 0.02)
    assert store.run(rates("demo"))["cpu"] == pytest.approx(1e10, rel=0.1)


def test_a_worker_takes_only_jobs_that_it_understands(store: JobStore) -> None:
    """In a rolling upgrade the newer service's jobs wait for newer workers, in every state; the others go on."""
    newer, known = replace(new_job(), schema=SCHEMA + 1), new_job()
    submit(store, newer, known)
    held = must_take(store)
    assert held.job_id == known.id and take(store) is None
    ahead = store.run(claim("demo", "ahead", 0.0, schema=SCHEMA + 1))
    assert ahead is not None and (ahead.job_id, ahead.schema) == (newer.id, SCHEMA + 1)
    assert store.run(lapse_leases()) == (f"{newer.id}|0/0",)
    assert take(store) is None and store.run(jobs.get(newer.id)).status == "running"
    store.run(release(held))
    assert [held.job_id for held in (must_take(store),)] == [known.id]
    assert store.run(claim("demo", "ahead", 10.0, schema=SCHEMA + 1)) is not None


def test_jobs_of_a_version_without_schemas_are_taken(store: JobStore) -> None:
    """After an upgrade in place; what a worker hands in for them, an older one could go on with."""
    submit(store, old := replace(new_job(), schema=1))
    store.client.hdel(f"pp:job:{old.id}", "schema")
    held = must_take(store)
    assert held.schema == 1 and isinstance(hand_in(held, b"x" * 10**6).arguments[4], bytes)


def test_facts_of_a_newer_version_can_be_read() -> None:
    """What this version does not know is left out, so that lists of jobs still work."""
    facts = new_job().facts
    content = json.dumps(json.loads(facts.to_json()) | {"from_the_future": 1})
    assert JobFacts.from_json(content.encode()) == facts
