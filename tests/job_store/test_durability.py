"""What was written is known to be on disk, or known not to be."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from api_schemas.errors import StoreFull, StoreUnavailable
from job_store import jobs
from job_store.durability import Durability, lost, on_disk, try_create
from job_store.store import AsyncJobStore, JobStore
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_worker import until
from tests.stored_jobs import new_job, submit


def _confirmed(valkey: EmbeddedValkey, act: Callable[[Durability], Awaitable[None]]) -> None:
    async def scenario() -> None:
        connection = AsyncJobStore.connect(valkey.url)
        try:
            await act(Durability(connection))
        finally:
            await connection.close()

    asyncio.run(scenario())


def test_a_full_disk_is_told_for_the_very_job_that_met_it(tmp_path: Path) -> None:
    """The broker answers that it has the job, and has not written it: killed, it forgets the job."""
    with embedded_valkey(tmp_path) as valkey:
        store = JobStore.connect(valkey.url)
        submit(store, kept := new_job())
        _confirmed(valkey, lambda durability: durability.confirm())
        valkey.fill_disk(room=64)
        submit(store, gone := new_job())
        with pytest.raises(StoreFull, match="may be lost"):
            _confirmed(valkey, lambda durability: durability.confirm())
        with pytest.raises(StoreFull):
            submit(store, new_job())
        with pytest.raises(StoreFull):
            store.run(try_create())
        valkey.kill()
        valkey.restart()
        assert [record.id for record in store.run(jobs.list_jobs(None)).records] == [kept.id]
        assert gone.id != kept.id
        store.close()


def test_once_there_is_room_again_all_is_written(tmp_path: Path) -> None:
    """What was held back is then on disk too, and new jobs are taken."""
    with embedded_valkey(tmp_path) as valkey:
        store = JobStore.connect(valkey.url)
        submit(store, new_job())
        valkey.fill_disk(room=64)
        submit(store, late := new_job())
        assert store.run(on_disk()) == "no"
        valkey.free_disk()
        assert until(lambda: store.run(on_disk()) == "yes")
        submit(store, new_job())
        valkey.kill()
        valkey.restart()
        assert store.run(jobs.get(late.id)).status == "queued"
        store.close()


def test_those_who_ask_together_share_an_answer(tmp_path: Path) -> None:
    """A burst of submits costs few questions; each question begins after the writes that it answers for."""
    with embedded_valkey(tmp_path) as valkey:

        async def ask(durability: Durability) -> None:
            await asyncio.gather(*(durability.confirm() for _ in range(100)))

        _confirmed(valkey, ask)
        store = JobStore.connect(valkey.url)
        calls = store.client.info("commandstats")["cmdstat_eval"]["calls"]
        calls += store.client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        assert calls <= 4
        store.close()


def test_a_broker_without_an_append_only_file_has_nothing_to_confirm(tmp_path: Path) -> None:
    """It is the operator's choice that jobs may be lost."""
    with embedded_valkey(tmp_path, extra=("--appendonly", "no")) as valkey:
        _confirmed(valkey, lambda durability: durability.confirm())


def test_a_submit_that_no_replica_follows_is_not_confirmed(valkey: EmbeddedValkey, store: JobStore) -> None:
    """A primary that is cut off from its replicas would lose it in the failover."""

    async def scenario() -> None:
        connection = AsyncJobStore.connect(valkey.url)
        connection.replicas = 1
        with pytest.raises(StoreUnavailable, match="Only 0 of 1 replicas"):
            await Durability(connection).confirm()
        await connection.close()

    asyncio.run(scenario())


def test_jobs_that_a_failover_lost_are_told_to_their_own_clients(store: JobStore) -> None:
    """The other clients that were confirmed together keep theirs."""
    submit(store, kept := new_job())
    assert store.run(lost([kept.id, "job_gone"])) == {"job_gone"}
