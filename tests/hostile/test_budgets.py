"""What one key holds open is bounded, and takes nothing from another key."""

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil

from job_store.keys import revoke_key
from job_store.store import JobStore
from tests.live_service import HandMade, LiveService, WorkerHand, spec
from tests.live_worker import until
from tests.two_keys import Bystander, Key, new_key

MIB = 2**20
STREAM = {"Accept": "text/event-stream"}


@contextlib.contextmanager
def _held(connections: list[socket.socket]) -> Iterator[list[socket.socket]]:
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _statuses(connections: list[socket.socket]) -> list[int]:
    """Of those that were answered within a second."""
    found = []
    for connection in connections:
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):
            found.append(int(connection.recv(64).split()[1]))
    return found


def test_bodies_that_a_key_holds_open_have_a_budget(guarded: LiveService, attacker: Key, bystander: Bystander) -> None:
    """Sixty of 1 MB, of which none ends: four are kept, the others come back later, and memory is bounded."""
    before = psutil.Process(guarded.pid).memory_info().rss
    with _held([attacker.unfinished_body(MIB - 2) for _ in range(60)]) as connections:
        refused = _statuses(connections)
        assert len(refused) >= 55 and set(refused) == {429}
        assert psutil.Process(guarded.pid).memory_info().rss - before < 24 * MIB


def test_bodies_of_all_keys_have_a_budget_that_small_ones_do_not_need(
    guarded: LiveService, attacker: Key, bystander: Bystander
) -> None:
    """Two keys together are told 503, and a third still submits small specs."""
    accomplice = new_key(guarded, "accomplice")
    with (
        _held([attacker.unfinished_body(MIB - 2) for _ in range(4)]),
        _held([accomplice.unfinished_body(MIB - 2) for _ in range(4)]) as connections,
    ):
        refused: list[int] = []
        assert until(lambda: refused.extend(_statuses(connections)) or bool(refused), 10)
        assert set(refused) == {503}
        time.sleep(0.5)


def test_what_was_held_is_given_back(guarded: LiveService, attacker: Key) -> None:
    """When the clients leave, and when they are answered."""
    with _held([attacker.unfinished_body(MIB - 2) for _ in range(5)]) as connections:
        assert 429 in _statuses(connections)

    def is_read() -> bool:
        large = b'{"model": "' + b"x" * (MIB - 100) + b'"}'
        with attacker.client() as client:
            answer = client.post("/v1/jobs", content=large, headers={"Content-Type": "application/json"})
        return answer.status_code == 422

    assert until(is_read, 10)
    assert all(is_read() for _ in range(6))


def test_event_streams_of_one_key_leave_room_for_another(
    guarded: LiveService, attacker: Key, bystander: Bystander
) -> None:
    """Four of the eight there are; the attacker's fifth is refused, the bystander's first is not."""
    with attacker.client() as client, bystander.key.client() as other, contextlib.ExitStack() as streams:
        path = client.post("/v1/jobs", json=spec()).headers["location"] + "/events"
        for _ in range(4):
            assert streams.enter_context(client.stream("GET", path, headers=STREAM)).status_code == 200
        assert client.get(path, headers=STREAM).status_code == 429
        theirs = other.post("/v1/jobs", json=spec()).headers["location"] + "/events"
        assert streams.enter_context(other.stream("GET", theirs, headers=STREAM)).status_code == 200


def test_those_who_wait_beyond_the_limit_are_answered_at_once(guarded: LiveService, attacker: Key) -> None:
    """A preference may be ignored; the answer does not say that it was honoured."""
    with attacker.client() as client:
        path = client.post("/v1/jobs", json=spec()).headers["location"]
        head = attacker.head(path, "Prefer: wait=20")
        waiting = [socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(4)]
        with _held(waiting):
            for connection in waiting:
                connection.sendall(head)
            time.sleep(0.5)
            started = time.monotonic()
            answer = client.get(path, headers={"Prefer": "wait=20"})
            assert time.monotonic() - started < 5 and answer.json()["status"] == "queued"
            assert "preference-applied" not in answer.headers


def _with_large_result(client: httpx.Client, worker: WorkerHand, seed: int) -> str:
    """The path of a figure that takes seconds to draw."""
    made = HandMade()
    shape = [12, 12, 4000]
    coordinates = {
        name: list(range(size)) for name, size in zip(("sender_layer", "sender_head", "example"), shape, strict=True)
    }
    made.head["blocks"][0] |= {"axes": list(coordinates), "shape": shape, "coordinates": coordinates}
    made.arrays = {"0/patched": np.ones(shape, dtype=np.float32)}
    made.arrays |= {f"0/{run}": np.ones(shape[-1], dtype=np.float32) for run in ("orig", "new")}
    path: str = client.post("/v1/jobs", json=spec(seed)).headers["location"]
    worker.work_off(made)
    return f"{path}/figure"


def test_figures_whose_clients_leave_are_not_drawn_and_delay_no_other_key(
    guarded: LiveService, attacker: Key, bystander: Bystander, worker: WorkerHand, store: JobStore
) -> None:
    """Thirty requests of one key; two are drawn at a time, none after its client has left; one is kept ready."""
    with attacker.client() as client, bystander.key.client() as other:
        path, theirs = _with_large_result(client, worker, 1), _with_large_result(other, worker, 2)
        head = attacker.head(path, "Accept: image/svg+xml")
        with _held([socket.create_connection(("127.0.0.1", guarded.port)) for _ in range(30)]) as connections:
            for connection in connections:
                connection.sendall(head)
            until(lambda: _drawing(guarded) == 2)
            assert other.get(theirs, headers={"Accept": "image/svg+xml"}).status_code == 200
        assert until(lambda: _drawing(guarded) <= 1, 5)


def _drawing(service: LiveService) -> int:
    """Processes that draw, or are ready to."""
    children = psutil.Process(service.pid).children()
    return sum("service.results.rendering" in " ".join(_command(child)) for child in children)


def _command(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.NoSuchProcess:
        return []
    return found


def test_whoever_waits_is_told_within_two_seconds_that_the_key_was_revoked(guarded: LiveService) -> None:
    """A revoked key must not be told how the job ends."""
    key = new_key(guarded, "short-lived")
    with key.client() as client, ThreadPoolExecutor(1) as beside:
        path = client.post("/v1/jobs", json=spec()).headers["location"]
        waiting = beside.submit(client.get, path, headers={"Prefer": "wait=20"})
        time.sleep(0.5)
        revoked_at = _revoke(guarded, key)
        answer = waiting.result(20)
        assert answer.status_code == 401 and time.monotonic() - revoked_at < 2


def test_an_event_stream_ends_within_two_seconds_of_its_keys_revocation(guarded: LiveService) -> None:
    """And tells nothing more of the job."""
    key = new_key(guarded, "short-lived")
    with key.client() as client:
        path = client.post("/v1/jobs", json=spec()).headers["location"]
        with client.stream("GET", f"{path}/events", headers=STREAM) as answer:
            events = answer.iter_lines()
            until(lambda: "queued" in next(events))
            revoked_at = _revoke(guarded, key)
            assert not any("status" in line for line in events)
        assert time.monotonic() - revoked_at < 2


def _revoke(service: LiveService, key: Key) -> float:
    """By another process than the service, so that it has to find out."""
    store = JobStore.connect(service.redis_url)
    assert store.run(revoke_key(key.id)) == (key.id,)
    store.close()
    return time.monotonic()
