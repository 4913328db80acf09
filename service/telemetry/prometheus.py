"""Prometheus metrics: the requests of this process, and the queues, jobs and workers of the whole store."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api_schemas.jobs import WorkerInfo
from job_store import gauges, workers
from job_store.gauges import ModelQueue
from job_store.store import AsyncJobStore

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


TOTALS = {
    "jobs_created": "Jobs accepted since the store began",
    "jobs_cached": "Jobs answered from an earlier result",
    "jobs_succeeded": "Jobs that succeeded",
    "jobs_failed": "Jobs that failed",
    "jobs_cancelled": "Jobs that were cancelled",
    "jobs_expired": "Jobs that passed their deadline",
    "shards_done": "Shards computed",
    "shards_lost": "Shards whose worker stopped answering",
    "shard_seconds": "Seconds that workers spent on shards",
}
"""Counters of the store, shown from 0 on."""


class RequestMetrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._latencies: dict[tuple[str, str], Histogram] = {}
        self._requests = Counter("pathpatch_http_requests", "Requests answered", labels, registry=self.registry)
        self._seconds = Histogram(
            "pathpatch_http_request_seconds",
            "Seconds from request to response, but for requests that wait for a job or follow its events",
            ("method", "route"),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = Gauge("pathpatch_http_requests_in_flight", "Requests being answered", registry=self.registry)
        self.event_streams = Gauge("pathpatch_event_streams", "Open event streams", registry=self.registry)
        self.webhooks = Counter(
            "pathpatch_webhook_deliveries", "Webhook deliveries attempted", ("outcome",), registry=self.registry
        )

    def observe(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count one request; None for one that took as long as it was asked to wait."""
        counted, timed = (method, route, status), (method, route)
        if counted not in self._counters:  # to look one up by its labels takes longer than to count
            self._counters[counted] = self._requests.labels(method, route, str(status))
        self._counters[counted].inc()
        if seconds is not None:
            if timed not in self._latencies:
                self._latencies[timed] = self._seconds.labels(method, route)
            self._latencies[timed].observe(seconds)


@dataclass(frozen=True)
class StoreState:
    """What the store says at one moment; absent when it cannot be reached."""

    states: dict[str, int]
    queues: tuple[ModelQueue, ...]
    workers: tuple[WorkerInfo, ...]
    totals: dict[str, float]

    @classmethod
    async def read(cls, store: AsyncJobStore) -> "StoreState":
        """The state of the store now."""
        return cls(
            states=await store.run(gauges.jobs_by_state()),
            queues=await store.run(gauges.queues()),
            workers=await store.run(workers.list_workers()),
            totals=await store.run(gauges.totals()),
        )


class _StoreCollector(Collector):
    """The store's state as metric families."""

    def __init__(self, state: StoreState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        yield from self._queue_metrics()
        yield from self._worker_metrics()
        jobs = GaugeMetricFamily("pathpatch_jobs", "Jobs on record, by state", labels=["status"])
        for status, count in self._state.states.items():
            jobs.add_metric([status], count)
        yield jobs
        for name, what in TOTALS.items():
            yield CounterMetricFamily(f"pathpatch_{name}", what, self._state.totals.get(name, 0.0))

    def _queue_metrics(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("pathpatch_queued_shards", "Shards waiting for a worker", labels=["model"])
        queued = GaugeMetricFamily("pathpatch_queued_jobs", "Jobs waiting for a worker", labels=["model"])
        oldest = GaugeMetricFamily("pathpatch_oldest_wait_seconds", "Wait of the oldest queued job", labels=["model"])
        for queue in self._state.queues:
            depth.add_metric([queue.model], queue.shards)
            queued.add_metric([queue.model], queue.jobs)
            oldest.add_metric([queue.model], queue.oldest_wait_s)
        yield from (depth, queued, oldest)

    def _worker_metrics(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily("pathpatch_worker_memory_bytes", "Resident memory", labels=["worker", "device"])
        device = GaugeMetricFamily("pathpatch_worker_device_memory_bytes", "GPU memory", labels=["worker", "device"])
        busy = GaugeMetricFamily("pathpatch_worker_busy", "1 while a shard runs", labels=["worker", "device"])
        for worker in self._state.workers:
            labels = [worker.id, worker.device]
            busy.add_metric(labels, float(worker.running is not None))
            if worker.memory_bytes is not None:
                memory.add_metric(labels, worker.memory_bytes)
            if worker.device_memory_bytes is not None:
                device.add_metric(labels, worker.device_memory_bytes)
        yield from (memory, device, busy)


def exposition(metrics: RequestMetrics, state: StoreState | None) -> bytes:
    """The text that Prometheus scrapes; ``pathpatch_store_up`` is 0, and the rest absent, without a store."""
    registry = CollectorRegistry()
    up = Gauge("pathpatch_store_up", "Whether the store answers", registry=registry)
    up.set(float(state is not None))
    if state is not None:
        registry.register(_StoreCollector(state))
    return generate_latest(metrics.registry) + generate_latest(registry)
