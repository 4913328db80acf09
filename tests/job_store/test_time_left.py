"""How long a running job will still take, as far as its shards so far tell."""

from dataclasses import replace

import pytest

from job_store import jobs
from job_store.records import JobRecord
from job_store.store import JobStore
from tests.stored_jobs import hand_in, must_take, new_job, submit, take


def _record(store: JobStore, done: int, elapsed_s: float, quiet_s: float, shares: tuple[float, ...] = ()) -> JobRecord:
    """A job of four shards in all, of which so many are done; computing began long after its start."""
    job = new_job(shards=4 // max(1, len(shares)))
    submit(store, replace(job, facts=replace(job.facts, phase_shares=shares)))
    for _ in range(done):
        store.run(hand_in(must_take(store), phases=max(1, len(shares))))
    record = store.run(jobs.get(job.id))
    return replace(
        record,
        started_ms=record.now_ms - 3_600_000,
        computing_ms=record.now_ms - round(elapsed_s * 1000),
        progressed_ms=record.now_ms - round(quiet_s * 1000),
    )


@pytest.mark.parametrize(
    ("done", "elapsed_s", "quiet_s", "left_s"),
    [
        (1, 2, 0, 6),  # loading the model for an hour says nothing of the shards
        (1, 3, 1, 5),  # in the middle of a shard
        (1, 10, 8, 10),  # the second shard is slower: had it ended now, two more would take as long
        (3, 12, 0, 4),
        (3, 60, 48, 0),  # the last shard may end any moment
    ],
)
def test_the_time_left_follows_pace_and_clock(
    store: JobStore, done: int, elapsed_s: float, quiet_s: float, left_s: float
) -> None:
    """It does not grow while a shard takes no longer than those before."""
    assert _record(store, done, elapsed_s, quiet_s).eta_s == pytest.approx(left_s)


def test_a_phase_counts_by_its_share_of_the_work(store: JobStore) -> None:
    """Verifying a few cells takes a moment after long estimates."""
    record = _record(store, done=2, elapsed_s=9, quiet_s=0, shares=(0.9, 0.1))
    assert (record.done, record.total) == (2, 4)
    assert record.eta_s == pytest.approx(1)


def test_all_phases_are_counted_from_the_beginning(store: JobStore) -> None:
    """A total that doubles on the way would look like lost progress."""
    assert _record(store, done=0, elapsed_s=0, quiet_s=0, shares=(0.9, 0.1)).total == 4


def test_before_the_first_shard_nobody_knows(store: JobStore) -> None:
    """No number is better than an invented one."""
    submit(store, job := new_job(shards=2))
    assert store.run(jobs.get(job.id)).eta_s is None
    held = must_take(store)
    assert store.run(jobs.get(job.id)).eta_s is None
    store.run(hand_in(held, computed_s=4.0))
    left_s = store.run(jobs.get(job.id)).eta_s
    assert left_s == pytest.approx(4, abs=0.5)
    assert take(store) is not None
