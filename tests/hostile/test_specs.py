"""Specs that ask for gigabytes and minutes: refused at once, or killed while they are checked; another key works on."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from job_store.store import JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import LiveService, live_service, spec
from tests.two_keys import ADMIN, Bystander, Key, new_key

QUICK_S = 15.0
"""Of a refusal, on a machine that does other things too; the attacks took half a minute and more."""
CHECK_BYTES = 400 * 2**20
SERVICE_BYTES = 400 * 2**20
CHECKERS = 4
SENTENCE = "When Mary and John went to the store, John gave a drink to Paul and "


@pytest.fixture(scope="module")
def strict(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service with keys, whose checks may take little memory, and on a busy machine any time."""
    log = tmp_path_factory.mktemp("strict") / "log"
    with live_service(valkey, log, admin_key=ADMIN, max_check_bytes=str(CHECK_BYTES), max_check_s="120") as service:
        yield service


@pytest.fixture
def service(strict: LiveService, store: JobStore) -> LiveService:
    """It, over an empty store."""
    return strict


@pytest.fixture
def attacker(service: LiveService) -> Key:
    """A key like anybody's."""
    return new_key(service, "attacker")


@pytest.fixture
def bystander(service: LiveService) -> Iterator[Bystander]:
    """Another key, which is never refused while the attack runs."""
    with Bystander(service, new_key(service, "bystander")) as working:
        yield working


def templates(**changes: Any) -> dict[str, Any]:
    dataset = {
        "kind": "templates",
        "templates": ["[A] went"],
        "slots": {"A": ["Mary"]},
        "new": {"A": "A"},
        "examples": 1,
    }
    return spec(dataset=dataset | changes, metric={"kind": "kl"})


def prompts(orig: str, new: str, **more: Any) -> dict[str, Any]:
    return spec(dataset={"kind": "prompts", "orig": [orig], "new": [new], **more}, metric={"kind": "kl"})


def slow() -> bytes:
    """A batch with which nothing is wrong, and that takes half a minute to resolve."""
    return json.dumps({"jobs": [names(seed) for seed in range(60)]}).encode()


def names(seed: int) -> dict[str, Any]:
    """Half a second of drawing and tokenising."""
    slots = {slot: ["Mary", "John", "Tom"] for slot in "AB"}
    return templates(templates=["So [A], [B]"], slots=slots, new={"A": "B", "B": "A"}, examples=10_000, seed=seed)


def large() -> dict[str, Any]:
    """Resolving it takes more memory than is allowed."""
    line = SENTENCE * 7
    return spec(dataset={"kind": "prompts", "orig": [line] * 10_000, "new": [line] * 10_000}, metric={"kind": "kl"})


def duplicates(count: int) -> bytes:
    keys = ",".join(f'"k{number}":0' for number in range(count))
    return f'{{{keys},"k{count - 1}":1}}'.encode()


def misspelled() -> bytes:
    near = {f"exampels{number:04}": 1 for number in range(900)}
    return json.dumps(spec() | near).encode()[:16_000] + b"1}"


WORD = "lamp "
LONG = WORD * 48_000
REFUSED: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "a template of 20 000 letters, 10 000 times": (
        lambda: json.dumps(templates(templates=["a" * 20_000], examples=10_000)).encode(),
        422,
        "the most is 10,000,000 (PATHPATCH_MAX_CHARACTERS)",
    ),
    "fillers of 20 000 letters, 10 000 times": (
        lambda: json.dumps(templates(slots={"A": ["a" * 20_000]}, examples=10_000)).encode(),
        422,
        "PATHPATCH_MAX_CHARACTERS",
    ),
    "a slot named 4000 times": (
        lambda: json.dumps(templates(templates=["[A]" * 4000], slots={"A": ["a" * 900]}, examples=10_000)).encode(),
        422,
        "PATHPATCH_MAX_CHARACTERS",
    ),
    "runs of 240 KB that differ in length by a word": (
        lambda: json.dumps(prompts(LONG, LONG + WORD)).encode(),
        422,
        "this model's context takes 1 to 64",
    ),
    "20 000 roles on one prompt": (
        lambda: json.dumps(prompts(SENTENCE, SENTENCE, roles={f"r{n}": ["Mary"] for n in range(20_000)})).encode(),
        422,
        "the object has 20,000 entries: the most is 1,000",
    ),
    "a string of two million letters": (
        lambda: json.dumps(prompts("a" * 2_000_000, "b")).encode(),
        422,
        "the string has 2,000,000 characters: the most is 1,000,000",
    ),
    "25 000 keys, the last one twice": (lambda: duplicates(25_000), 400, "the key 'k24999' is given twice"),
    "16 KB of misspelled fields": (misspelled, 422, "there is no field"),
    "300 000 wrong tokens": (
        lambda: json.dumps(
            spec(dataset={"kind": "tokens", "orig": [["1"] * 60] * 5000, "new": [[1] * 60] * 5000})
        ).encode(),
        422,
        '"1" is not an integer',
    ),
}


def validate(client: httpx.Client, body: bytes) -> httpx.Response:
    return client.post("/v1/jobs:validate", content=body, headers={"Content-Type": "application/json"}, timeout=120.0)


def works_on(bystander: Bystander) -> None:
    """The other key's next round is answered, and quickly."""
    rounds, started = len(bystander.poll_s), time.perf_counter()
    assert _until(lambda: len(bystander.poll_s) > rounds, QUICK_S), "another key waits"
    assert time.perf_counter() - started < QUICK_S


def memory(service: LiveService) -> tuple[int, int]:
    """Resident bytes of the service, and of its largest process that checks specs."""
    process = psutil.Process(service.pid)
    children = [0]
    for child in process.children(recursive=True):
        try:
            children.append(child.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return process.memory_info().rss, max(children)


@pytest.mark.parametrize(("make", "status", "told"), REFUSED.values(), ids=REFUSED)
def test_refusing_costs_little(
    service: LiveService, attacker: Key, bystander: Bystander, make: Callable[[], bytes], status: int, told: str
) -> None:
    """Each of these took the service from everybody, for half a minute or for good."""
    body = make()
    with attacker.client() as client:
        validate(client, json.dumps(spec()).encode())  # a process may have to be started
        started = time.perf_counter()
        answers = [validate(client, body) for _ in range(3)]
        seconds = (time.perf_counter() - started) / 3
    works_on(bystander)
    assert {answer.status_code for answer in answers} == {status}, answers[0].text[:500]
    assert told in answers[0].text.replace('\\"', '"')
    assert seconds < QUICK_S
    own, checker = memory(service)
    assert own < SERVICE_BYTES and checker < CHECK_BYTES


def test_what_takes_too_long_is_ended_and_told(valkey: EmbeddedValkey, store: JobStore, tmp_path: Path) -> None:
    """Its process is killed at the deadline; another key's specs and this key's next ones are answered."""
    with live_service(valkey, tmp_path / "log", admin_key=ADMIN, max_check_s="1") as service:
        attacker = new_key(service, "attacker")
        with Bystander(service, new_key(service, "bystander")) as bystander, attacker.client() as client:
            answer = validate(client, json.dumps(large()).encode())
            assert answer.status_code == 422, answer.text[:500]
            told = "checking this takes too long, 1 s are allowed (PATHPATCH_MAX_CHECK_S)"
            assert answer.json()["detail"].startswith(told)
            assert validate(client, json.dumps(spec()).encode()).status_code == 200
            works_on(bystander)
            assert _until(lambda: not _busy(service), QUICK_S)


def test_what_takes_too_much_memory_is_ended_and_told(
    service: LiveService, attacker: Key, bystander: Bystander
) -> None:
    """It ends its own process alone."""
    with attacker.client() as client:
        answer = validate(client, json.dumps(large()).encode())
        assert answer.status_code == 422, answer.text[:300]
        told = "checking this takes too much memory, 400 MiB are allowed (PATHPATCH_MAX_CHECK_BYTES)"
        assert answer.json()["detail"].startswith(told), answer.text[:300]
        assert validate(client, json.dumps(spec()).encode()).status_code == 200
    works_on(bystander)
    assert memory(service)[0] < SERVICE_BYTES


def leave(key: Key, after_s: float) -> None:
    """Send the batch, and close the connection before it is answered."""
    headers, limits = {"Content-Type": "application/json"}, httpx.Timeout(10.0, read=after_s)
    with key.client() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/batches", content=slow(), headers=headers, timeout=limits)


def test_requests_of_one_key_without_end_delay_no_other(
    service: LiveService, attacker: Key, bystander: Bystander
) -> None:
    """Of six at once, each with half a minute of work, two are worked on; another key's large spec does not wait."""
    threads = [threading.Thread(target=leave, args=(attacker, 8.0)) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    works_on(bystander)
    assert len(_checkers(service)) <= CHECKERS
    with bystander.key.client() as client:
        started = time.perf_counter()
        large_spec = spec(dataset={"kind": "ioi", "examples": 1000, "seed": 7})
        assert client.post("/v1/jobs", json=large_spec).status_code == 202
        assert time.perf_counter() - started < QUICK_S
    for thread in threads:
        thread.join(30)
    assert _until(lambda: not _busy(service), QUICK_S), "a process goes on for nobody"
    assert len(_checkers(service)) <= CHECKERS


def test_work_ends_when_its_client_leaves(service: LiveService, attacker: Key, bystander: Bystander) -> None:
    """Whoever sends and goes would else keep the processes busy for half a minute each time."""
    leave(attacker, 3.0)
    assert _until(lambda: not _busy(service), QUICK_S), "a process goes on for nobody"
    works_on(bystander)


def test_a_process_that_is_killed_costs_no_request(service: LiveService, bystander: Bystander) -> None:
    """As the system does when memory is short."""
    killed: list[int] = []

    def kill() -> None:
        if _until(lambda: bool(_busy(service)), 10.0):
            for child in _checkers(service):
                killed.append(child.pid)
                child.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with bystander.key.client() as client:
        answer = client.post("/v1/jobs", json=names(11))
    killer.join()
    works_on(bystander)
    assert killed and answer.status_code == 202, answer.text


def _checkers(service: LiveService) -> list[psutil.Process]:
    """Processes that check specs; another is kept ready to draw."""
    found = []
    for child in psutil.Process(service.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "service.checkers.process" in child.cmdline():
                found.append(child)
    return found


def _busy(service: LiveService) -> list[psutil.Process]:
    """Processes that check a spec right now: those that use a processor."""
    found = []
    for child in _checkers(service):
        try:
            if child.cpu_percent(0.1) > 20:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _until(is_so: Callable[[], bool], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.05)
    return is_so()
