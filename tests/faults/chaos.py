"""``make chaos``: hundreds of jobs of mixed kinds while workers, service and broker are killed at random.

At the end no job may be lost, doubled or failed, and every result must equal the undisturbed one, bit for bit.
``python tests/faults/chaos.py --seed 7 --jobs 300 --workers 3`` repeats a run's choices. With ``--blobs folder``
or ``bucket`` every content is in blobs, and the bucket goes away at times; ``--sentinel`` kills the primary of three.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from api_schemas.errors import StoreUnavailable, UnknownJob
from blob_store.place import BlobStore
from job_store import jobs
from job_store.gauges import jobs_by_state
from job_store.records import Limits, NewJob, Retention
from job_store.store import JobStore
from job_store.submission import create
from tests.blackhole import Blackhole
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.live_service import LiveService, spec
from tests.live_worker import LiveWorker, arrays_of, demo_job, ended
from tests.s3_server import s3_server
from tests.sentinels import ReplicatedBroker, replicated_broker

Broker = EmbeddedValkey | ReplicatedBroker
SHARDS_BY_RECORD = (1, 2, 4, 7)
SENDERS = [{"hook": "z", "layer": 1, "head": 0}]
RECEIVERS = [{"hook": "resid_post", "layer": 3}]
SWEEP = {"sweep": {"hook": "z", "layers": "all", "heads": "all"}}
QUERIES = [{"hook": "q", "layer": 2, "head": 1}]
KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"patch": {"senders": SENDERS, "receivers": RECEIVERS, "source": "mean"}},
    {"patch": {"senders": SENDERS, "receivers": RECEIVERS, "direct_includes_mlps": True}},
    {"patch": {"senders": SWEEP, "receivers": RECEIVERS}},
    {"patch": {"kind": "activation", "nodes": [{"hook": "resid_pre", "layer": 2}]}},
)
"""Of one phase, and of two: means first."""
HTTP_KINDS: tuple[dict[str, Any], ...] = (
    {"dataset": {"kind": "ioi", "examples": 24, "seed": 1}},
    {"dataset": {"kind": "ioi", "examples": 16, "seed": 2}, "patch": {"senders": SWEEP, "receivers": QUERIES}},
)


class Chaos:
    """The processes of one run, and the choice of what dies next."""

    def __init__(
        self, valkey: Broker, folder: Path, workers: int, seed: int, blobs_url: str = "", line: Blackhole | None = None
    ) -> None:
        self.valkey = valkey
        self.folder = folder
        self.chance = random.Random(seed)
        self.line = line
        self.blobs = {"BLOBS": blobs_url, "BLOBS_LEAST_BYTES": "0"} if blobs_url else {}
        self.store = JobStore.connect(valkey.url, BlobStore(blobs_url, least_bytes=0) if blobs_url else None)
        self.service = self._new_service()
        settings = {"SHARD_DELAY_S": "0.25", "GRACE_S": "2", **self.blobs}
        self.workers = [LiveWorker(valkey.url, folder, f"w{number}", **settings) for number in range(workers)]
        self.killed: Counter[str] = Counter()

    def _new_service(self) -> LiveService:
        return LiveService(self.valkey.url, **self.blobs)

    def start(self) -> None:
        self.service.start(self.folder / "service.log")
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.wait_until_ready()

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.service.stop()
        self.store.close()

    def strike(self) -> None:
        """Kill something, and start it again."""
        strikes: list[tuple[str, Callable[[], None]]] = [
            ("worker", self._kill_worker),
            ("child", self._kill_child),
            ("worker by SIGTERM", self._terminate_worker),
            ("service", self._kill_service),
            ("broker", self._kill_broker),
        ]
        if self.line is not None:
            strikes.append(("bucket", self._cut_bucket))
        name, strike = self.chance.choice(strikes)
        self.killed[name] += 1
        strike()

    def _kill_worker(self) -> None:
        worker = self.chance.choice(self.workers)
        worker.stop()
        worker.start()

    def _kill_child(self) -> None:
        worker = self.chance.choice(self.workers)
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):  # it has none at this moment
            os.kill(worker.child_pid, signal.SIGKILL)

    def _terminate_worker(self) -> None:
        worker = self.chance.choice(self.workers)
        worker.terminate(60)
        worker.start()

    def _kill_service(self) -> None:
        os.kill(self.service.pid, signal.SIGKILL)
        self.service.stop()
        port, self.service = self.service.port, self._new_service()
        assert port != self.service.port
        self.service.start(self.folder / "service.log")

    def _kill_broker(self) -> None:
        self.valkey.kill()
        time.sleep(self.chance.uniform(0, 1))
        self.valkey.restart()

    def _cut_bucket(self) -> None:
        assert self.line is not None
        self.line.reset()
        time.sleep(self.chance.uniform(0, 3))
        self.line.pass_on()


def stubborn(work: Callable[[], Any]) -> Any:
    """Do it again until it works, as a client with an idempotency key may."""
    while True:
        try:
            return work()
        except (httpx.TransportError, redis.ConnectionError, StoreUnavailable, UnknownJob, RuntimeError):
            time.sleep(0.1)


def record(chaos: Chaos, job: NewJob) -> str:
    """Create a job of several shards; nobody is told of it but by its record. It counts once a replica has it."""
    step = create("local", [job], limits=Limits(), retention=Retention())

    def attempt() -> str:
        (job_id,) = chaos.store.run(step).job_ids
        if isinstance(chaos.valkey, ReplicatedBroker):
            with chaos.store.client.pipeline(transaction=False) as pipeline:
                reached = pipeline.set("pp:replicated", 1).execute_command("WAIT", 1, 3000).execute()[1]
            if not reached:
                raise StoreUnavailable("no replica follows")
            chaos.store.run(jobs.get(job_id))
        return str(job_id)

    return str(stubborn(attempt))


def post(chaos: Chaos, document: dict[str, Any], name: str) -> str:
    """Submit over HTTP, under an idempotency key."""

    def attempt() -> str:
        headers = {"Idempotency-Key": name}
        answer = httpx.post(f"{chaos.service.url}/v1/jobs", json=document, headers=headers, timeout=10, trust_env=False)
        if answer.status_code in (409, 503):
            raise httpx.TransportError("not now")
        answer.raise_for_status()
        return str(answer.json()["id"])

    return str(stubborn(attempt))


def submit(chaos: Chaos, number: int) -> tuple[int, str]:
    """One job of the kind that its number says, and which kind that is."""
    kinds = len(KINDS) * len(SHARDS_BY_RECORD)
    kind = number % (kinds + len(HTTP_KINDS))
    if kind >= kinds:
        return kind, post(chaos, spec(use_cache=False, **HTTP_KINDS[kind - kinds]), f"chaos-{number}")
    shards = SHARDS_BY_RECORD[kind // len(KINDS)]
    return kind, record(chaos, demo_job(shards, seed=shards, **KINDS[kind % len(KINDS)]))


def logs(chaos: Chaos) -> str:
    """What the workers said last."""
    return "\n".join(worker.log.read_text()[-4000:] for worker in chaos.workers)


def undisturbed(chaos: Chaos) -> dict[int, bytes]:
    """The numbers of each kind when nothing dies."""
    kinds = len(KINDS) * len(SHARDS_BY_RECORD) + len(HTTP_KINDS)
    made = [submit(chaos, number - kinds) for number in range(kinds)]
    for _, job_id in made:
        found = ended(chaos.store, job_id, 300)
        assert found.status == "succeeded", f"{job_id} failed undisturbed: {found.error_detail}\n{logs(chaos)}"
    return {kind: arrays_of(chaos.store, job_id) for kind, job_id in made}


def run(chaos: Chaos, number_of_jobs: int, every_s: float) -> list[tuple[int, str]]:
    """Submit in the background, strike until all have ended."""
    made: list[tuple[int, str]] = []

    def submit_all() -> None:
        for number in range(number_of_jobs):
            made.append(submit(chaos, number))
            time.sleep(0.05)

    submitter = threading.Thread(target=submit_all)
    submitter.start()

    def is_all_done() -> bool:
        counts = stubborn(lambda: chaos.store.run(jobs_by_state()))
        return not submitter.is_alive() and not (counts["queued"] + counts["running"] + counts["cancelling"])

    while not is_all_done():
        time.sleep(chaos.chance.uniform(0.5, 1.5) * every_s)
        chaos.strike()
        counts = stubborn(lambda: chaos.store.run(jobs_by_state()))
        print(
            f"{len(made)} submitted, {counts['succeeded']} succeeded, {sum(chaos.killed.values())} killed", flush=True
        )
    submitter.join()
    return made


def verdict(chaos: Chaos, made: list[tuple[int, str]], expected: dict[int, bytes]) -> Counter[str]:
    """What became of each job."""
    found: Counter[str] = Counter()
    for kind, job_id in made:
        job = chaos.store.run(jobs.get(job_id))
        if job.status != "succeeded":
            print(f"{job_id} {job.status}: {job.error_detail}")
            found[job.status] += 1
        elif job.done != job.total or arrays_of(chaos.store, job_id) != expected[kind]:
            print(f"{job_id} of kind {kind} differs from the undisturbed run")
            found["different"] += 1
        else:
            found["right"] += 1
    kept = sum(chaos.store.run(jobs_by_state()).values())
    found["doubled or lost"] = abs(kept - len(expected) - len({job_id for _, job_id in made}))
    return +found


def place(kind: str | None, folder: Path, resources: contextlib.ExitStack) -> tuple[str, Blackhole | None]:
    """URL of the blobs, and the line to their bucket."""
    if kind != "bucket":
        return (f"file://{folder}/blobs" if kind else ""), None
    s3 = resources.enter_context(s3_server(folder / "s3.log"))
    line = Blackhole(int(s3.address.rpartition(":")[2]))
    resources.callback(line.close)
    os.environ.update(s3.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}"})
    return s3.url, line


def main() -> int:
    """Exit code 0 only if every job ended once, with the right answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.randrange(10**6)))
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--every", type=float, default=4.0, help="seconds between kills, on average")
    parser.add_argument(
        "--blobs", choices=["folder", "bucket"], help="where all contents are; by default in the broker"
    )
    parser.add_argument("--sentinel", action="store_true", help="a primary, two replicas and a Sentinel as the broker")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    with contextlib.ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        a_broker = replicated_broker if chosen.sentinel else embedded_valkey
        valkey = resources.enter_context(a_broker(folder / "valkey"))
        chaos = Chaos(valkey, folder, chosen.workers, chosen.seed, *place(chosen.blobs, folder, resources))
        try:
            chaos.start()
            expected = undisturbed(chaos)
            started = time.monotonic()
            made = run(chaos, chosen.jobs, chosen.every)
            found = verdict(chaos, made, expected)
        finally:
            chaos.stop()
    print(f"{time.monotonic() - started:.0f} s; killed: {dict(chaos.killed)}")
    print(f"{chosen.jobs} jobs: {dict(found)}")
    return 0 if found == {"right": chosen.jobs} else 1


if __name__ == "__main__":
    sys.exit(main())
