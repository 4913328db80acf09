"""When the server is away, full, restarted or another program."""

import asyncio
import time
from pathlib import Path

import pytest

from api_schemas.errors import StoreUnavailable
from job_store import jobs
from job_store.changes import ChangeFeed
from job_store.store import AsyncJobStore, JobStore
from tests.embedded_valkey import embedded_valkey, free_port
from tests.stored_jobs import new_job, submit, work_off

REDIS_SERVER = Path("/usr/bin/redis-server")


def test_a_server_that_is_not_there_is_unavailable() -> None:
    """A typed error that the service can answer with 503."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(StoreUnavailable):
        JobStore.connect(url).run(jobs.get("job_x"))

    async def ask() -> None:
        connection = AsyncJobStore.connect(url)
        with pytest.raises(StoreUnavailable):
            await connection.ping()
        with pytest.raises(StoreUnavailable):
            await connection.run(jobs.get("job_x"))
        await connection.close()

    asyncio.run(ask())


def test_jobs_survive_the_kill_of_the_server(tmp_path: Path) -> None:
    """The append-only file holds what was accepted, and stores reconnect by themselves."""
    with embedded_valkey(tmp_path) as valkey:
        store = JobStore.connect(valkey.url)
        submit(store, job := new_job())
        time.sleep(1.2)
        valkey.kill()
        with pytest.raises(StoreUnavailable):
            store.run(jobs.get(job.id))
        valkey.restart()
        assert store.run(jobs.get(job.id)).status == "queued"
        assert work_off(store) == [f"{job.id}/0/0"]
        store.close()


def test_a_feed_wakes_its_watches_when_the_server_is_back(tmp_path: Path) -> None:
    """A change during the outage must not be slept over."""

    async def scenario() -> bool:
        with embedded_valkey(tmp_path) as valkey:
            connection = AsyncJobStore.connect(valkey.url)
            feed = ChangeFeed(connection)
            listening = asyncio.create_task(feed.listen_forever())
            await asyncio.sleep(0.3)
            async with feed.watch("job_x") as watch:
                await watch.changed(0)
                valkey.kill()
                valkey.restart()
                heard = await watch.changed(5)
            listening.cancel()
            await connection.close()
            return heard

    assert asyncio.run(scenario())


@pytest.mark.integration
@pytest.mark.skipif(not REDIS_SERVER.exists(), reason="Debian's redis-server is not installed")
def test_debians_redis_server_runs_every_script(tmp_path: Path) -> None:
    """An operator's own Redis serves as well as the bundled Valkey."""
    with embedded_valkey(tmp_path, binary=REDIS_SERVER) as redis:
        store = JobStore.connect(redis.url)
        submit(store, job := new_job(shards=2))
        work_off(store)
        assert store.run(jobs.get(job.id)).status == "succeeded"
        assert store.run(jobs.list_jobs(None)).records[0].id == job.id
        store.close()
