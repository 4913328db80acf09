"""What the routes work with: the store, the models, the queue and so on, built once per process."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

from fastapi import Depends, Request

from checkpoints.registry import read_registry
from job_store.changes import ChangeFeed
from job_store.durability import Durability
from job_store.reaper import Reaper
from job_store.records import Retention
from job_store.store import AsyncJobStore
from job_store.sweeper import Sweeper
from service.accounts.keys import Keyring
from service.accounts.shares import ByteBudget, Rounds, Slots
from service.checkers.pool import Checkers
from service.jobs.known import KnownFrames, KnownSpecs
from service.jobs.sent import SentLately
from service.jobs.speeds import Speeds
from service.models.catalog import ModelCatalog
from service.results.drawers import Drawers
from service.settings import Settings
from service.specs.limits import SpecLimits
from service.telemetry.prometheus import RequestMetrics
from service.webhooks.outbox import Webhooks

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

THREADS = 4
"""For what takes some ten milliseconds at most."""
CHECKS_AT_ONCE, CHECKS_PER_KEY = 4, 2
"""Processes that check specs."""
QUICK_CHECKS_AT_ONCE, QUICK_CHECKS_PER_KEY = 2, 1
"""Threads that check small specs; the others are free for readiness, models and small results."""
MOST_WAITING_QUICKLY = 10_000
INSTANT_CHECKS_PER_ROUND = 8
"""Checks of one key, of a millisecond each, before other requests are looked at."""
RENDERINGS_AT_ONCE, RENDERINGS_PER_KEY = 3, 2
"""Processes that make large results or figures at the same time, which bounds the memory for it."""
MOST_WAITING = 64
"""Requests of one key that stand in line for such a process."""


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
    known: KnownSpecs
    frames: KnownFrames
    sent: SentLately
    reaper: Reaper
    sweeper: Sweeper
    speeds: Speeds
    webhooks: Webhooks
    metrics: RequestMetrics
    threads: ThreadPoolExecutor
    checkers: Checkers
    quick_checks: Slots
    instant_checks: Rounds
    renderings: Slots
    drawers: Drawers
    body_bytes: ByteBudget
    durability: Durability
    streams: Slots
    """Of clients that follow events."""
    waits: Slots
    """Of clients that wait for a job."""

    @classmethod
    def build(cls, settings: Settings) -> "Parts":
        """All parts; none of them talks to anything yet."""
        blobs = settings.blob_store()
        store = AsyncJobStore.connect(settings.redis_url, blobs=blobs)
        metrics = RequestMetrics()
        limits = SpecLimits.from_environment(settings.environment)
        catalog = ModelCatalog(read_registry(settings.models, Path(settings.model_dir)))
        return cls(
            settings=settings,
            store=store,
            feed=ChangeFeed(store),
            catalog=catalog,
            limits=limits,
            retention=Retention(result_s=settings.retention_s, record_s=2 * settings.retention_s),
            keyring=Keyring(settings, store),
            known=KnownSpecs(catalog.peek),
            frames=KnownFrames(catalog.peek),
            sent=SentLately(),
            reaper=Reaper(store, settings.reaper_interval_s, settings.retention_bytes),
            sweeper=Sweeper(store, blobs),
            speeds=Speeds(store),
            webhooks=Webhooks(settings, store, metrics),
            metrics=metrics,
            threads=ThreadPoolExecutor(THREADS, thread_name_prefix="short"),
            checkers=Checkers(settings, limits, _slots(settings, "specs", CHECKS_AT_ONCE, CHECKS_PER_KEY)),
            quick_checks=_slots(
                settings, "small specs", QUICK_CHECKS_AT_ONCE, QUICK_CHECKS_PER_KEY, MOST_WAITING_QUICKLY
            ),
            instant_checks=Rounds(INSTANT_CHECKS_PER_ROUND),
            renderings=_slots(settings, "figures and large results", RENDERINGS_AT_ONCE, RENDERINGS_PER_KEY),
            drawers=Drawers(settings.redis_url),
            body_bytes=_body_bytes(settings, limits.max_body_bytes),
            durability=Durability(store),
            streams=_followers(settings, "event streams (PATHPATCH_MAX_EVENT_STREAMS, ..._PER_KEY)"),
            waits=_followers(settings, "waiting requests"),
        )


def _slots(settings: Settings, what: str, in_all: int, per_key: int, most_waiting: int = MOST_WAITING) -> Slots:
    """Slots for work that ends; who is alone, without keys, may use all of them."""
    most = per_key if settings.keys_required else in_all
    return Slots(what, in_all=in_all, per_key=most, most_waiting=most_waiting)


def _followers(settings: Settings, what: str) -> Slots:
    in_all = settings.max_event_streams
    per_key = settings.max_event_streams_per_key if settings.keys_required else in_all
    return Slots(what, in_all=in_all, per_key=per_key)


def _body_bytes(settings: Settings, largest: int) -> ByteBudget:
    """One body of the size allowed always fits."""
    per_key = max(largest, settings.max_key_body_bytes)
    return ByteBudget(in_all=max(per_key, settings.max_all_body_bytes), per_key=per_key)


async def in_thread(
    parts: Parts, work: Callable[Arguments, Value], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Value:
    """Do something that takes some ten milliseconds without holding up the event loop."""
    return await asyncio.get_running_loop().run_in_executor(parts.threads, lambda: work(*arguments, **options))


async def parts_of(request: Request) -> Parts:
    """The parts of the process that answers this request."""
    found: Parts = request.app.state.parts
    return found


PartsOf = Annotated[Parts, Depends(parts_of)]
