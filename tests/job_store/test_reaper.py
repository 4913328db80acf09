"""The reaper's rounds, and who may make them."""

import asyncio
import time
from collections.abc import Callable

import pytest

from job_store import jobs
from job_store.gauges import queues, totals
from job_store.reaper import Reaper, Swept, erase_old, expire_jobs, lapse_leases, settle_cancelled, starved
from job_store.records import Retention
from job_store.store import AsyncJobStore, JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.stored_jobs import must_take, new_job, submit, take, work_off


def test_only_one_of_two_reapers_sweeps(store: JobStore, valkey: EmbeddedValkey) -> None:
    """And the other takes over when the first is silent."""

    async def sweep() -> list[Swept | None]:
        first, second = AsyncJobStore.connect(valkey.url), AsyncJobStore.connect(valkey.url)
        leader, heir = Reaper(first, period_s=0.05), Reaper(second, period_s=0.05)
        swept = [await leader.sweep(), await heir.sweep()]
        await asyncio.sleep(0.2)
        swept.append(await heir.sweep())
        await first.close()
        await second.close()
        return swept

    led, stood_by, took_over = asyncio.run(sweep())
    assert led is not None and stood_by is None and took_over is not None


def test_a_reaper_ends_whenever_it_is_cancelled(store: JobStore, valkey: EmbeddedValkey) -> None:
    """Also as it sends: a third of these rounds went on for ever while redis-py had a timeout of its own."""

    async def cancellations(connection: AsyncJobStore, after_s: float) -> int:
        sweeping = asyncio.create_task(Reaper(connection, period_s=0.001).run_forever())
        await asyncio.sleep(after_s)
        number = 0
        while not sweeping.done():
            sweeping.cancel()
            number += 1
            await asyncio.wait({sweeping}, timeout=2)
        return number

    async def scenario() -> set[int]:
        connection = AsyncJobStore.connect(valkey.url)
        numbers = {await cancellations(connection, moment * 0.0001) for moment in range(100)}
        await connection.close()
        return numbers

    assert asyncio.run(scenario()) == {1}


def test_a_sweep_frees_lapsed_shards_and_nudges_for_them(store: JobStore, valkey: EmbeddedValkey) -> None:
    """A worker that was killed, and a message that was lost with it."""
    submit(store, new_job())
    held = must_take(store, lease_s=0)
    store.client.delete("patch.demo")

    async def sweep() -> Swept | None:
        connection = AsyncJobStore.connect(valkey.url)
        swept = await Reaper(connection).sweep()
        await connection.close()
        return swept

    swept = asyncio.run(sweep())
    assert swept is not None and swept.lapsed == (f"{held.job_id}|0/0",) and swept.nudged == {"demo": 1}
    assert store.client.llen("patch.demo") == 1


def test_a_queue_with_messages_is_not_starved(store: JobStore) -> None:
    """Otherwise every sweep would add messages while workers are busy."""
    submit(store, new_job(shards=5))
    assert store.run(starved()) == ()
    store.client.delete("patch.demo")
    assert store.run(starved()) == ("demo",)


def test_a_clock_that_stepped_back_delays_a_lapse_by_a_minute_at_most(store: JobStore) -> None:
    """Leases are times of the server's clock; a dead worker's would last until the clock is there again."""
    submit(store, new_job())
    held = must_take(store)
    lease = f"{held.job_id}|0/0"
    store.client.zadd("pp:leases", {lease: time.time() * 1000 + 3600_000})
    assert store.run(lapse_leases()) == ()
    ahead_s = float(store.client.zscore("pp:leases", lease)) / 1000 - time.time()
    assert 50 < ahead_s < 70


def test_a_job_that_one_lapsed_shard_ends_is_not_queued_again_by_the_next(store: JobStore) -> None:
    """Both leases lapse in one round: the first shard's third loss fails the job, and nothing may follow."""
    submit(store, new_job(shards=2))
    for _ in range(2):
        must_take(store, lease_s=0)
        store.run(lapse_leases())
    assert [must_take(store, lease_s=0).shard for _ in range(2)] == [0, 1]
    assert len(store.run(lapse_leases())) == 2
    assert take(store) is None
    assert [queue.shards for queue in store.run(queues())] == [0]
    assert store.run(totals())["jobs_failed"] == 1


def test_records_erased_by_another_hand_stop_neither_lists_nor_sweeps_nor_claims(store: JobStore) -> None:
    """As with ``DEL`` in the broker's own command line: the other jobs go on."""
    queued, running, cancelling, ended, kept = [new_job() for _ in range(5)]
    for job in (running, cancelling, ended, queued, kept):
        submit(store, job)
        if job in (running, cancelling):
            must_take(store, lease_s=0)
    store.run(jobs.cancel(cancelling.id))
    store.run(jobs.cancel(ended.id))
    for job in (queued, running, cancelling, ended):
        store.client.delete(f"pp:job:{job.id}")
    for step in (lapse_leases, settle_cancelled, expire_jobs, erase_old):
        store.run(step())
    assert [record.id for record in store.run(jobs.list_jobs("local")).records] == [kept.id]
    assert must_take(store).job_id == kept.id
    assert take(store) is None


WEEK_MS = 7 * 86_400_000
DAY_MS = 86_400_000


def _step_clock(store: JobStore, by_ms: int) -> None:
    """As if the server's clock had stepped: all that is stored lies so much further back."""
    for job_id, at in store.client.zrange("pp:retention", 0, -1, withscores=True):
        store.client.zadd("pp:retention", {job_id: at - by_ms})
    for field in ("seen", "at"):
        store.client.hincrby("pp:age", field, -by_ms)


def _swept(valkey: EmbeddedValkey, *between: Callable[[], None]) -> list[str]:
    """What a reaper erases in a sweep, and in one after each of these."""

    async def scenario() -> list[str]:
        connection = AsyncJobStore.connect(valkey.url)
        reaper = Reaper(connection, period_s=0.01)
        erased = []
        for act in (lambda: None, *between):
            act()
            swept = await reaper.sweep()
            assert swept is not None
            erased += swept.erased
        await connection.close()
        return erased

    return asyncio.run(scenario())


@pytest.mark.parametrize("step_ms", [8 * DAY_MS, -8 * DAY_MS])
def test_a_clock_that_jumps_eight_days_and_back_erases_nothing(
    store: JobStore, valkey: EmbeddedValkey, step_ms: int
) -> None:
    """Results of a week that were kept for a minute; also those of jobs that end before the jump is noticed."""
    submit(store, job := new_job(), retention=Retention(result_s=WEEK_MS / 1000, record_s=2 * WEEK_MS / 1000))
    work_off(store)

    def jump() -> None:
        _step_clock(store, step_ms)

    def jump_back() -> None:
        submit(store, new_job(), retention=Retention(result_s=WEEK_MS / 1000, record_s=2 * WEEK_MS / 1000))
        work_off(store)
        _step_clock(store, -step_ms)

    assert _swept(valkey, jump, lambda: None, jump_back, lambda: None) == []
    assert store.run(jobs.result(job.id)) is not None


def test_the_jump_would_have_erased_it_by_the_clock_alone(store: JobStore, valkey: EmbeddedValkey) -> None:
    """So that the test above shows something."""
    submit(store, job := new_job(), retention=Retention(result_s=WEEK_MS / 1000, record_s=2 * WEEK_MS / 1000))
    work_off(store)
    _step_clock(store, 8 * DAY_MS)
    store.client.delete("pp:age")
    assert store.run(erase_old()) == (job.id,)


def test_what_grows_old_while_reapers_sweep_is_erased(store: JobStore, valkey: EmbeddedValkey) -> None:
    """Time passes by their own clock, and what a sweep erases is more than a second can make."""
    for _ in range(3):
        submit(store, *(new_job() for _ in range(100)), retention=Retention(result_s=0.3, record_s=0.3))
    for record in store.run(jobs.list_jobs(None, limit=300)).records:
        store.run(jobs.cancel(record.id))
    assert len(_swept(valkey, lambda: time.sleep(1.0))) == 300
