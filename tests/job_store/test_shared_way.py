"""Small steps of simultaneous requests go together, and each gets its own answer."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import redis.asyncio

from api_schemas.errors import StoreUnavailable
from job_store.durability import on_disk
from job_store.jobs import get
from job_store.kept_connections import KeptConnections
from job_store.records import JobRecord
from job_store.script import Step
from job_store.shared_way import SharedWay
from job_store.store import AsyncJobStore, JobStore
from job_store.submission import create
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.stored_jobs import RETENTION, UNLIMITED, new_job


def _with_store(url: str, act: Callable[[AsyncJobStore], Awaitable[None]]) -> None:
    async def scenario() -> None:
        connection = AsyncJobStore.connect(url)
        try:
            await act(connection)
        finally:
            await connection.close()

    asyncio.run(scenario())


def _messages(store: JobStore) -> int:
    """How many times the server has read from a connection."""
    return int(store.client.info("stats")["total_reads_processed"])


def test_each_step_gets_its_own_answer_in_few_messages(store: JobStore, valkey: EmbeddedValkey) -> None:
    """A burst costs the server two messages in place of one for each job, and no job another's refusal."""
    jobs = [new_job() for _ in range(20)]

    async def act(connection: AsyncJobStore) -> None:
        await connection.run(on_disk())
        await connection.run(create("local", [new_job()], limits=UNLIMITED, retention=RETENTION))
        before = _messages(store)
        wrong = Step("create", ("local", "no JSON"), str, shares_way=True)
        steps = [create("local", [job], limits=UNLIMITED, retention=RETENTION) for job in jobs]
        answers = await asyncio.gather(*map(connection.run, [*steps, wrong]), return_exceptions=True)
        assert [answer.job_ids for answer in answers[:-1] if not isinstance(answer, BaseException)] == [
            (job.id,) for job in jobs
        ]
        assert isinstance(answers[-1], Exception)
        assert _messages(store) - before <= 6

    _with_store(valkey.url, act)


def test_who_leaves_takes_nobody_along(store: JobStore, valkey: EmbeddedValkey) -> None:
    """A client that closes its connection cancels its own step alone; the answers of others stay in order."""

    async def act(connection: AsyncJobStore) -> None:
        asked = [asyncio.create_task(connection.run(on_disk())) for _ in range(6)]
        await asyncio.sleep(0)
        for task in asked[::2]:
            task.cancel()
        assert set(await asyncio.gather(*asked[1::2])) <= {"yes", "wait"}
        assert await connection.run(on_disk()) in ("yes", "wait")

    _with_store(valkey.url, act)


def test_a_store_that_was_away_is_asked_again(tmp_path: Path) -> None:
    """All that went together learn that it is away; the next ones find it again."""
    with embedded_valkey(tmp_path) as valkey:

        async def act(connection: AsyncJobStore) -> None:
            await connection.run(on_disk())
            await asyncio.to_thread(valkey.kill)
            answers = await asyncio.gather(*(connection.run(on_disk()) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(answer, StoreUnavailable) for answer in answers)
            with pytest.raises(StoreUnavailable):
                await connection.run(on_disk())
            await asyncio.to_thread(valkey.restart)
            assert await connection.run(on_disk()) in ("yes", "wait")

        _with_store(valkey.url, act)


def test_connections_that_broke_meanwhile_are_noticed(tmp_path: Path) -> None:
    """After the store was started again, the first requests find it, however many connections were kept."""
    with embedded_valkey(tmp_path) as valkey:

        async def act(connection: AsyncJobStore) -> None:
            job = new_job()
            await connection.run(create("local", [job], limits=UNLIMITED, retention=RETENTION))
            left = [asyncio.create_task(connection.run(get(job.id))) for _ in range(20)]
            await asyncio.sleep(0)
            left[0].cancel()
            found = await asyncio.gather(*left, return_exceptions=True)
            assert [isinstance(one, JobRecord) for one in found] == [False] + [True] * 19
            await asyncio.to_thread(valkey.kill)
            await asyncio.to_thread(valkey.restart)
            assert [(await connection.run(get(job.id))).id for _ in range(3)] == [job.id] * 3
            assert [one.id for one in await asyncio.gather(*(connection.run(get(job.id)) for _ in range(20)))]

        _with_store(valkey.url, act)


def test_whatever_goes_wrong_reaches_all_that_wait() -> None:
    """Also what no client is known to raise: who waited for ever would hold a request and its slot."""

    class Broken:
        @property
        def connection_pool(self) -> object:
            raise RuntimeError("no connection")

    async def act() -> list[object]:
        way = SharedWay(KeptConnections(cast("redis.asyncio.Redis", Broken())), answer_s=5)
        answers = asyncio.gather(way.answer("PING"), way.answer("PING"), return_exceptions=True)
        return list(await asyncio.wait_for(answers, 5))

    assert [str(answer) for answer in asyncio.run(act())] == ["no connection"] * 2
