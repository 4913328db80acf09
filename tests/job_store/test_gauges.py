"""Numbers that dashboards and autoscalers read."""

from job_store.gauges import jobs_by_state, queues, totals
from job_store.store import JobStore
from job_store.workers import beat, keep_listed, leave, list_workers, waiting_messages
from tests.stored_jobs import must_take, new_job, submit, work_off

WORKER = {"device": "cpu", "models": ["demo"], "serves": ["demo"], "memory_bytes": 1, "running": None}


def test_queues_tell_jobs_shards_and_the_oldest_wait(store: JobStore) -> None:
    """Depth in shards is what workers are needed for."""
    submit(store, first := new_job(shards=3), new_job(shards=2))
    store.client.zadd("pp:waiting:demo", {first.id: 1})
    (queue,) = store.run(queues())
    assert (queue.model, queue.jobs, queue.shards) == ("demo", 2, 5) and queue.oldest_wait_s > 1e6
    must_take(store)
    (queue,) = store.run(queues())
    assert (queue.jobs, queue.shards) == (1, 4) and queue.oldest_wait_s < 10


def test_states_and_totals_are_counted(store: JobStore) -> None:
    """Totals go on when records are erased."""
    submit(store, new_job(), new_job())
    work_off(store)
    submit(store, new_job())
    assert store.run(jobs_by_state()) == {
        "queued": 1, "running": 0, "cancelling": 0, "succeeded": 2, "failed": 0, "cancelled": 0, "expired": 0,
    }  # fmt: skip
    counted = store.run(totals())
    assert (counted["jobs_created"], counted["jobs_succeeded"], counted["shards_done"]) == (3, 2, 2)


def test_messages_wait_only_for_a_worker_that_could_take_them(store: JobStore) -> None:
    """A worker that is idle while messages wait has lost its consumer; one that loads or computes has not."""
    store.client.rpush("patch.demo", "message")
    assert store.run(waiting_messages("w", ["demo", "other"])) == 0
    for state, waiting in (({"is_loading": True}, 0), ({"running": "job_x/0/0"}, 0), ({"is_loading": False}, 1)):
        store.run(beat("w", {**WORKER, **state}, 10))
        assert store.run(waiting_messages("w", ["demo", "other"])) == waiting


def test_a_worker_is_listed_while_it_beats(store: JobStore) -> None:
    """Silence takes it off the list; its main process can keep it there while the child loads."""
    assert not store.run(keep_listed("w", 10))
    store.run(beat("w", WORKER, 0.02))
    assert store.run(keep_listed("w", 10))
    (info,) = store.run(list_workers())
    assert (info.id, info.models, info.running) == ("w", ["demo"], None)
    store.run(leave("w"))
    assert store.run(list_workers()) == ()
    store.run(beat("w", WORKER, 0.001))
    import time

    time.sleep(0.01)
    assert store.run(list_workers()) == ()
