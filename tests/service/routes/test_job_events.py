"""Events over HTTP: as a list and as a stream, with no gap and no repeat."""

import asyncio
import threading
import time
from typing import Any

import httpx
import orjson
import pytest

from api_schemas.jobs import JobEvent, ListOf
from job_store import jobs
from job_store.changes import ChangeFeed
from job_store.store import AsyncJobStore, JobStore
from service.jobs import events
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, WorkerHand, metric, spec
from tests.live_worker import until
from tests.stored_jobs import new_job, submit

pytestmark = pytest.mark.integration

STREAM = {"Accept": "text/event-stream"}
STREAMS = "pathpatch_event_streams"


@pytest.fixture
def events_path(client: httpx.Client) -> str:
    """Path of a queued job's events."""
    path: str = client.post("/v1/jobs", json=spec()).json()["links"]["events"]
    return path


def _parsed(text: str) -> list[dict[str, Any]]:
    """The events of a stream, as their data says them."""
    blocks = [block for block in text.split("\n\n") if block.startswith("id: ")]
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]
    data = [orjson.loads(entry["data"]) for entry in fields]
    assert [entry["id"] for entry in fields] == [event["id"] for event in data]
    assert [entry["event"] for entry in fields] == [event["type"] for event in data]
    return data


def test_the_list_and_the_stream_tell_the_same_story(
    client: httpx.Client, worker: WorkerHand, events_path: str
) -> None:
    """A client may use either."""
    worker.work_off()
    listed = ListOf[JobEvent].model_validate_json(client.get(events_path).content)
    streamed = _parsed(client.get(events_path, headers=STREAM).text)
    assert [event.id for event in listed.data] == [event["id"] for event in streamed]
    states = [event.data["status"] for event in listed.data if event.type == "status"]
    assert states == ["queued", "running", "succeeded"]
    assert not listed.has_more


def test_the_list_comes_in_pages(client: httpx.Client, worker: WorkerHand, events_path: str) -> None:
    """The same cursor as for jobs."""
    worker.work_off()
    everything = [event["id"] for event in client.get(events_path).json()["data"]]
    found: list[str] = []
    while True:
        page = client.get(events_path, params={"limit": 1, "after": found[-1]} if found else {"limit": 1}).json()
        found += [event["id"] for event in page["data"]]
        if not page["has_more"]:
            break
    assert found == everything


def test_the_stream_follows_a_job_to_its_end(client: httpx.Client, worker: WorkerHand, events_path: str) -> None:
    """It ends by itself after the last state."""
    timer = threading.Timer(0.3, worker.work_off)
    timer.start()
    answer = client.get(events_path, headers=STREAM)
    timer.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert _parsed(answer.text)[-1]["data"]["status"] == "succeeded"


def test_a_resumed_stream_has_no_gap_and_no_repeat(client: httpx.Client, worker: WorkerHand, events_path: str) -> None:
    """Whatever the place where the connection broke."""
    worker.work_off()
    everything = _parsed(client.get(events_path, headers=STREAM).text)
    for seen in range(1, len(everything)):
        resumed = client.get(events_path, headers=STREAM | {"Last-Event-ID": everything[seen - 1]["id"]})
        assert _parsed(resumed.text) == everything[seen:]


def test_after_the_last_event_a_reconnecting_browser_is_told_to_stop(
    client: httpx.Client, worker: WorkerHand, events_path: str
) -> None:
    """EventSource reconnects for ever unless it gets a 204."""
    worker.work_off()
    last = client.get(events_path).json()["data"][-1]["id"]
    assert client.get(events_path, headers=STREAM | {"Last-Event-ID": last}).status_code == 204


@pytest.mark.parametrize("given", ["x", "1-2-3", "-1", "1" * 30])
def test_a_senseless_last_event_id_is_refused(client: httpx.Client, events_path: str, given: str) -> None:
    """Rather than silently starting somewhere."""
    assert client.get(events_path, headers=STREAM | {"Last-Event-ID": given}).status_code == 422
    assert client.get(events_path, params={"after": given}).status_code == 422


def test_a_client_that_goes_away_leaves_nothing_behind(
    client: httpx.Client, events_path: str, service: LiveService
) -> None:
    """Streams are counted, and the count must come back to zero."""
    until(lambda: metric(client, STREAMS) == 0, timeout_s=5)  # those of other tests have ended
    with client.stream("GET", events_path, headers=STREAM) as answer:
        chunks = answer.iter_bytes()
        next(chunks)
        until(lambda: metric(client, STREAMS) == 1, timeout_s=5)
    until(lambda: metric(client, STREAMS) == 0, timeout_s=5)


def test_many_waiting_clients_are_all_answered_at_once(
    service: LiveService, client: httpx.Client, worker: WorkerHand, events_path: str
) -> None:
    """One subscription is fanned out: 100 waiting clients cost one connection to the store."""
    job_path = events_path.removesuffix("/events")
    ends: list[float] = []

    def wait() -> None:
        with httpx.Client(base_url=service.url, timeout=30) as own:
            assert own.get(job_path, headers={"Prefer": "wait=20"}).json()["done"]
        ends.append(time.monotonic())

    threads = [threading.Thread(target=wait) for _ in range(100)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    started = time.monotonic()
    assert client.get("/v1/jobs").status_code == 200
    assert time.monotonic() - started < 0.5
    worker.work_off()
    for thread in threads:
        thread.join(20)
    assert len(ends) == 100 and max(ends) - min(ends) < 3


def test_a_quiet_stream_says_now_and_then_that_it_is_alive(
    valkey: EmbeddedValkey, store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment in every quiet quarter of a minute, here tenth of a second, keeps proxies from closing it."""
    assert events.COMMENT_EVERY_S == 15
    monkeypatch.setattr(events, "COMMENT_EVERY_S", 0.1)
    submit(store, job := new_job())

    async def scenario() -> list[bytes]:
        connection = AsyncJobStore.connect(valkey.url)
        feed = ChangeFeed(connection)
        listening = asyncio.create_task(feed.listen_forever())
        stream = events.stream(connection, feed, job.id, None, "0", lambda: asyncio.sleep(0))
        said = [await anext(stream) for _ in range(4)]
        store.run(jobs.cancel(job.id))
        said += [text async for text in stream]
        listening.cancel()
        await connection.close()
        return said

    said = asyncio.run(scenario())
    assert said[2:4] == [b": still here\n\n"] * 2
    assert b'"cancelled"' in said[-1]
