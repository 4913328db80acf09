"""What one key's attack costs another key: its submits and polls, quiet and under attack, and the service's memory.

Run: ``python -m benchmarks.hostile [--seconds 10]``. Starts its own broker and service; all on the loopback, from this
process and on the same cores. Prints a table in Markdown.
"""

import argparse
import contextlib
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.stack import machine, resident_mib
from job_store.store import JobStore
from tests.embedded_valkey import embedded_valkey
from tests.live_service import LiveService, WorkerHand, live_service, spec
from tests.two_keys import ADMIN, Bystander, Key, new_key

MIB = 2**20
Attack = Callable[[Key], AbstractContextManager[object]]


@contextmanager
def nothing(key: Key) -> Iterator[None]:
    """Quiet."""
    yield


@contextmanager
def bodies(key: Key) -> Iterator[None]:
    """Sixty bodies of 15 MB that never end."""
    connections = [key.unfinished_body(15 * MIB) for _ in range(60)]
    yield
    for connection in connections:
        connection.close()


@contextmanager
def again_and_again(act: Callable[[httpx.Client], Any], key: Key, threads: int = 4) -> Iterator[None]:
    """The same request, by several threads, as fast as they get answers."""
    ending = threading.Event()

    def work() -> None:
        with key.client() as client:
            while not ending.is_set():
                with contextlib.suppress(httpx.TransportError):
                    act(client)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    yield
    ending.set()
    for worker in workers:
        worker.join(60)


def templates(key: Key) -> AbstractContextManager[None]:
    """20 KB that would be 200 MB of prompts."""
    dataset = {"kind": "templates", "template": "a " * 10_000, "examples": 10_000, "seed": 0, "roles": {}}
    return again_and_again(lambda client: client.post("/v1/jobs:validate", json=spec(dataset=dataset)), key)


def prompts(key: Key) -> AbstractContextManager[None]:
    """240 KB whose prompts differ in length by one word."""
    dataset = {"kind": "prompts", "orig": ["a " * 60_000], "new": ["a " * 60_001]}
    return again_and_again(lambda client: client.post("/v1/jobs:validate", json=spec(dataset=dataset)), key)


def misspelled(key: Key) -> AbstractContextManager[None]:
    """16 KB of misspelled fields."""
    wrong = {f"datase{number}": 0 for number in range(900)}
    return again_and_again(lambda client: client.post("/v1/jobs", json=spec(**wrong)), key)


def duplicates(key: Key) -> AbstractContextManager[None]:
    """25 000 keys in one object, of which the last comes twice."""
    body = ("{" + ",".join(f'"k{number}":0' for number in [*range(25_000), 24_999]) + "}").encode()
    headers = {"Content-Type": "application/json"}
    return again_and_again(lambda client: client.post("/v1/jobs", content=body, headers=headers), key)


def looks(key: Key) -> AbstractContextManager[None]:
    """Looking ahead at the largest seeded dataset."""
    dataset = {"kind": "ioi", "examples": 10_000, "seed": 0}
    return again_and_again(lambda client: client.post("/v1/jobs:validate", json=spec(dataset=dataset)), key)


@contextmanager
def figures(key: Key) -> Iterator[None]:
    """Sixty figures whose clients leave, every second."""
    with key.client() as client:
        path = client.get("/v1/jobs").json()["data"][0]["links"]["figure"]
    ending = threading.Event()

    def work() -> None:
        while not ending.is_set():
            with ExitStack() as stack:
                for _ in range(60):
                    stack.enter_context(connection := key.connect())
                    connection.sendall(key.head(path, "Accept: image/svg+xml"))
                ending.wait(1.0)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    yield
    ending.set()
    worker.join(10)


ATTACKS: dict[str, Attack] = {
    "nothing": nothing,
    "bodies": bodies,
    "templates": templates,
    "prompts": prompts,
    "misspelled": misspelled,
    "duplicates": duplicates,
    "looks": looks,
    "figures": figures,
}


def measure(service: LiveService, attacker: Key, bystander: Key, attack: Attack, seconds: float) -> list[float]:
    """Median and largest milliseconds of the bystander's submit and poll, and the service's memory in MiB."""
    with attack(attacker):
        time.sleep(1.0)
        with Bystander(service, bystander) as working:
            time.sleep(seconds)
        memory = resident_mib(service.pid)
    submit, poll = ([1000 * value for value in values] for values in (working.submit_s, working.poll_s))
    return [statistics.median(submit), max(submit), statistics.median(poll), max(poll), memory]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack")
    options = parser.parse_args()
    print("| attack | submit p50 ms | max | poll p50 ms | max | service MiB |\n|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded_valkey(Path(folder) / "valkey") as valkey,
        live_service(valkey, Path(folder) / "service.log", admin_key=ADMIN) as service,
    ):
        attacker, bystander = new_key(service, "attacker"), new_key(service, "bystander")
        with attacker.client() as client:
            assert client.post("/v1/jobs", json=spec()).status_code == 202
        WorkerHand(JobStore.connect(valkey.url)).work_off()
        for name, attack in ATTACKS.items():
            figures_of = measure(service, attacker, bystander, attack, options.seconds)
            print(
                f"| {(attack.__doc__ or name).rstrip('.')} | "
                + " | ".join(f"{value:.1f}" for value in figures_of)
                + " |"
            )
            time.sleep(2.0)
    print(machine())


if __name__ == "__main__":
    main()
