"""What the routes work with: the store, the models, the queue and so on, built once per process."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from api_schemas.models import parse_registry
from job_store.changes import ChangeFeed
from job_store.reaper import Reaper
from job_store.records import Retention
from job_store.store import AsyncJobStore
from service.accounts.keys import Keyring
from service.jobs.queue import Publisher
from service.jobs.speeds import Speeds
from service.models.catalog import ModelCatalog
from service.settings import Settings
from service.specs.limits import Limits
from service.telemetry.prometheus import RequestMetrics
from service.webhooks.outbox import Webhooks

RESOLVER_THREADS = 2
RENDERINGS_AT_ONCE = 2
"""Processes that make large results or figures at the same time, which bounds the memory for it."""


@dataclass
class Parts:
    """The parts of one service process."""

    settings: Settings
    store: AsyncJobStore
    feed: ChangeFeed
    catalog: ModelCatalog
    limits: Limits
    retention: Retention
    keyring: Keyring
    publisher: Publisher
    reaper: Reaper
    speeds: Speeds
    webhooks: Webhooks
    metrics: RequestMetrics
    resolvers: ThreadPoolExecutor
    """Resolve specs, so that a big dataset never holds up the event loop."""
    renderings: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RENDERINGS_AT_ONCE))
    large_bodies: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    open_streams: int = 0

    @classmethod
    def build(cls, settings: Settings) -> "Parts":
        """All parts; none of them talks to anything yet."""
        store = AsyncJobStore.connect(settings.redis_url)
        publisher = Publisher(settings.redis_url)
        metrics = RequestMetrics()
        return cls(
            settings=settings,
            store=store,
            feed=ChangeFeed(store),
            catalog=ModelCatalog(parse_registry(settings.models)),
            limits=Limits.from_environment(settings.environment),
            retention=Retention(result_s=settings.retention_s, record_s=2 * settings.retention_s),
            keyring=Keyring(settings, store),
            publisher=publisher,
            reaper=Reaper(store, publisher.nudge, period_s=settings.reaper_interval_s),
            speeds=Speeds(store),
            webhooks=Webhooks(settings, store, metrics),
            metrics=metrics,
            resolvers=ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve"),
        )

    def count_stream(self, change: int) -> None:
        """Note that an event stream was opened or closed."""
        self.open_streams += change
        self.metrics.event_streams.set(self.open_streams)


async def parts_of(request: Request) -> Parts:
    """The parts of the process that answers this request."""
    found: Parts = request.app.state.parts
    return found


PartsOf = Annotated[Parts, Depends(parts_of)]
