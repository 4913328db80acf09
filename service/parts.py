"""What the routes work with: the store, the models, the queue and so on, built once per process."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from checkpoints.registry import read_registry
from job_store.changes import ChangeFeed
from job_store.durability import Durability
from job_store.reaper import Reaper
from job_store.records import Retention
from job_store.store import AsyncJobStore
from service.accounts.keys import Keyring
from service.accounts.shares import ByteBudget, Slots
from service.jobs.queue import Publisher
from service.jobs.speeds import Speeds
from service.models.catalog import ModelCatalog
from service.settings import Settings
from service.specs.limits import SpecLimits
from service.telemetry.prometheus import RequestMetrics
from service.webhooks.outbox import Webhooks

RESOLVER_THREADS = 2
RENDERINGS_AT_ONCE, RENDERINGS_PER_KEY = 3, 2
"""Processes that make large results or figures at the same time, which bounds the memory for it."""
MOST_WAITING = 64
"""Requests of one key that stand in line for such a process, or with a large body to be checked."""


@dataclass
class Parts:
    """The parts of one service process."""

    settings: Settings
    store: AsyncJobStore
    feed: ChangeFeed
    catalog: ModelCatalog
    limits: SpecLimits
    retention: Retention
    keyring: Keyring
    publisher: Publisher
    reaper: Reaper
    speeds: Speeds
    webhooks: Webhooks
    metrics: RequestMetrics
    resolvers: ThreadPoolExecutor
    """Resolve specs, so that a big dataset never holds up the event loop."""
    renderings: Slots
    large_bodies: Slots
    body_bytes: ByteBudget
    durability: Durability
    streams: Slots
    """Of clients that follow events."""
    waits: Slots
    """Of clients that wait for a job."""

    @classmethod
    def build(cls, settings: Settings) -> "Parts":
        """All parts; none of them talks to anything yet."""
        store = AsyncJobStore.connect(settings.redis_url)
        publisher = Publisher(settings.redis_url)
        metrics = RequestMetrics()
        limits = SpecLimits.from_environment(settings.environment)
        return cls(
            settings=settings,
            store=store,
            feed=ChangeFeed(store),
            catalog=ModelCatalog(read_registry(settings.models)),
            limits=limits,
            retention=Retention(result_s=settings.retention_s, record_s=2 * settings.retention_s),
            keyring=Keyring(settings, store),
            publisher=publisher,
            reaper=Reaper(store, publisher.nudge, period_s=settings.reaper_interval_s),
            speeds=Speeds(store),
            webhooks=Webhooks(settings, store, metrics),
            metrics=metrics,
            resolvers=ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve"),
            renderings=_slots(settings, "figures and large results", RENDERINGS_AT_ONCE, RENDERINGS_PER_KEY),
            large_bodies=_slots(settings, "large bodies", 1, 1),
            body_bytes=_body_bytes(settings, limits.max_body_bytes),
            durability=Durability(store),
            streams=_followers(settings, "event streams (PATHPATCH_MAX_EVENT_STREAMS, ..._PER_KEY)"),
            waits=_followers(settings, "waiting requests"),
        )


def _slots(settings: Settings, what: str, in_all: int, per_key: int) -> Slots:
    """Slots for short work; who is alone, without keys, may use all of them."""
    most = per_key if settings.keys_required else in_all
    return Slots(what, in_all=in_all, per_key=most, most_waiting=MOST_WAITING)


def _followers(settings: Settings, what: str) -> Slots:
    in_all = settings.max_event_streams
    per_key = settings.max_event_streams_per_key if settings.keys_required else in_all
    return Slots(what, in_all=in_all, per_key=per_key)


def _body_bytes(settings: Settings, largest: int) -> ByteBudget:
    """One body of the size allowed always fits."""
    per_key = max(largest, settings.max_key_body_bytes)
    return ByteBudget(in_all=max(per_key, settings.max_all_body_bytes), per_key=per_key)


async def parts_of(request: Request) -> Parts:
    """The parts of the process that answers this request."""
    found: Parts = request.app.state.parts
    return found


PartsOf = Annotated[Parts, Depends(parts_of)]
