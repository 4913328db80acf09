"""What one shard costs the job store's server, step by step, and so how many devices one server can feed.

Valkey runs the steps on one thread, and the kernel counts the nanoseconds that its threads ran: the figures are the
server's own, network and append-only file included, whatever else the machine does.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.entity import Queue
from kombu.simple import SimpleQueue

from api_schemas.datasets import ResolvedDataset
from job_store.broker import TASK, broker_settings, queue_of
from job_store.gauges import queues
from job_store.reaper import lapse_leases, starved
from job_store.records import Limits, Retention
from job_store.script import Step
from job_store.shards import claim, complete, finish, heartbeat
from job_store.store import JobStore
from job_store.submission import create
from job_store.workers import beat, keep_listed, waiting_messages
from tests.embedded_valkey import EmbeddedValkey, embedded_valkey
from tests.stored_jobs import new_job, submit

MODEL = "metered"
SHARDS = 1000
OUTPUT = b"x" * 20_000
"""A shard's output: means and moments of 144 cells, and a hundred examples."""
SHARD_S = 3.0
HEARTBEAT_S = 3.0
DEVICES = (16, 100, 1000)


class Meter:
    """Microseconds of the server's processor per call of a step."""

    def __init__(self, valkey: EmbeddedValkey, store: JobStore) -> None:
        self.valkey = valkey
        self.store = store
        self.found: dict[str, float] = {}

    def run(self, name: str, *steps: Step[Any]) -> list[Any]:
        """Do the steps, and note the mean."""
        began = self._ran_us()
        answers = [self.store.run(step) for step in steps]
        self.found[name] = round((self._ran_us() - began) / len(steps), 1)
        return answers

    def messages(self, number: int = 500) -> None:
        """Publish messages, fetch and acknowledge them, as Celery does."""
        celery = Celery("metered", set_as_current=False)
        celery.conf.update(broker_settings(self.valkey.url))
        queue = Queue(queue_of(MODEL), routing_key=queue_of(MODEL))
        began = self._ran_us()
        for _ in range(number):
            celery.send_task(TASK, args=[MODEL], queue=queue, ignore_result=True)
        with Connection(self.valkey.url) as connection, SimpleQueue(connection, queue, no_ack=False) as inbox:
            for _ in range(number):
                inbox.get(timeout=5).ack()
        self.found["message"] = round((self._ran_us() - began) / number, 1)
        celery.close()

    def _ran_us(self) -> float:
        """Time that the server's threads ran since it started (Linux)."""
        threads = Path(f"/proc/{self.valkey.pid}/task").glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in threads) / 1000


def store_cost() -> dict[str, Any]:
    """Microseconds per step and per shard, and the share of one server thread that so many devices take."""
    with TemporaryDirectory() as folder, embedded_valkey(Path(folder)) as valkey:
        store = JobStore.connect(valkey.url)
        meter = Meter(valkey, store)
        _measure(meter)
        meter.messages()
        store.close()
    cost = meter.found
    per_shard = cost["claim"] + cost["finish"] + cost["heartbeat"] * SHARD_S / HEARTBEAT_S + cost["message"]
    per_beat = cost["beat"] + cost["keep_listed"] + cost["waiting_messages"]
    per_device_s = per_shard / SHARD_S + per_beat / HEARTBEAT_S
    return {
        "microseconds": cost,
        "microseconds_per_shard": round(per_shard),
        "microseconds_per_device_and_second": round(per_device_s),
        "share_of_one_server_thread_by_devices": {str(n): round(n * per_device_s / 1e6, 4) for n in DEVICES},
        "devices_that_fill_one_thread": round(1e6 / per_device_s),
    }


def _measure(meter: Meter) -> None:
    """The life of a job of a thousand shards beside a thousand other jobs and a thousand listed workers."""
    store = meter.store
    limits, retention = Limits(), Retention()
    meter.run("create a job", *(create("others", [new_job()], limits=limits, retention=retention) for _ in range(1000)))
    prompts = ResolvedDataset(orig=[list(range(16))] * 10, new=[list(range(16))] * 10, roles={}, answers={})
    submit(store, replace(new_job(model={"name": MODEL}), shards=(prompts,) * SHARDS))
    names = [f"worker-{number}" for number in range(1000)]
    description = {"device": "cuda:0", "models": [MODEL], "serves": [MODEL], "memory_bytes": 1, "running": None}
    meter.run("beat", *(beat(name, description, 60) for name in names))
    meter.run("keep_listed", *(keep_listed(name, 60) for name in names))
    meter.run("waiting_messages", *(waiting_messages(name, [MODEL]) for name in names))
    held = meter.run("claim", *(claim(MODEL, name, 60) for name in names[:SHARDS]))
    meter.run("heartbeat", *(heartbeat(one, 60) for one in held))
    meter.run("reaper, each of its queries", *(lapse_leases(), starved(), queues()) * 20)
    settings: dict[str, Any] = {"device": "gpu", "phases": 1, "worker": "w", "lease_s": 60, "computed_s": 1.0}
    *_, last = meter.run("finish", *(finish(one, OUTPUT, **settings) for one in held))
    meter.run("complete", complete(last.assembly, b"{}", b"x" * 2**20))
