"""Waiting for a job's changes: by any number of clients over one connection."""

import asyncio
import time

from job_store import jobs
from job_store.changes import ChangeFeed
from job_store.store import AsyncJobStore, JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.stored_jobs import hand_in_alone, must_take, new_job, submit


def test_two_hundred_clients_wait_over_one_connection(store: JobStore, valkey: EmbeddedValkey) -> None:
    """Each of them is woken by the end of its job, none is missed, and the server sees one subscriber."""
    created = [new_job() for _ in range(200)]
    submit(store, *created)

    async def wait_for_end(connection: AsyncJobStore, feed: ChangeFeed, job_id: str) -> None:
        async with feed.watch(job_id) as watch:
            while not (await connection.run(jobs.get(job_id))).is_done:
                assert await watch.changed(10)

    async def scenario() -> float:
        connection = AsyncJobStore.connect(valkey.url)
        feed = ChangeFeed(connection)
        listening = asyncio.create_task(feed.listen_forever())
        waiting = [asyncio.create_task(wait_for_end(connection, feed, job.id)) for job in created]
        await asyncio.sleep(0.3)
        assert dict(await connection.client.pubsub_numsub("pp:changes")) == {b"pp:changes": 1}
        started = time.monotonic()
        for job in created:
            await connection.run(jobs.cancel(job.id))
        await asyncio.gather(*waiting)
        elapsed = time.monotonic() - started
        listening.cancel()
        await connection.close()
        return elapsed

    assert asyncio.run(scenario()) < 5


def test_a_wait_without_a_change_times_out(store: JobStore, valkey: EmbeddedValkey) -> None:
    """Another job's changes wake nobody, nor does that a job is made: nobody knows it yet."""

    async def scenario() -> tuple[bool, bool]:
        connection = AsyncJobStore.connect(valkey.url)
        feed = ChangeFeed(connection)
        listening = asyncio.create_task(feed.listen_forever())
        mine, other = new_job(), new_job()
        await asyncio.sleep(0.2)
        async with feed.watch(mine.id) as watch:
            submit(store, mine, other)
            await connection.run(jobs.cancel(other.id))
            silent = await watch.changed(0.2)
            await connection.run(jobs.cancel(mine.id))
            heard = await watch.changed(5)
        listening.cancel()
        await connection.close()
        return silent, heard

    assert asyncio.run(scenario()) == (False, True)


def test_who_waits_for_the_end_alone_is_not_woken_before(store: JobStore, valkey: EmbeddedValkey) -> None:
    """A look at the job for each of its changes would cost the processor that computes it."""

    async def scenario() -> tuple[bool, bool, bool]:
        connection = AsyncJobStore.connect(valkey.url)
        feed = ChangeFeed(connection)
        listening = asyncio.create_task(feed.listen_forever())
        submit(store, mine := new_job())
        await asyncio.sleep(0.2)
        async with feed.watch(mine.id) as any_change, feed.watch(mine.id, end_only=True) as end:
            held = must_take(store)
            heard = await any_change.changed(5)
            silent = await end.changed(0.2)
            store.run(hand_in_alone(held))
            ended = await end.changed(5)
        listening.cancel()
        await connection.close()
        return heard, silent, ended

    assert asyncio.run(scenario()) == (True, False, True)
