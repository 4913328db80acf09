"""Webhooks: the outbox of the store, delivered with retries; whatever cannot be delivered stays visible."""

import asyncio
import logging
import ssl
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import orjson

from api_schemas.errors import FieldError, PathPatchingError, StoreUnavailable, UnknownJob
from api_schemas.spec import Webhook
from job_store import jobs, webhooks
from job_store.store import AsyncJobStore
from job_store.webhooks import Delivery
from service.http.representations import job_document
from service.settings import Settings
from service.telemetry.prometheus import RequestMetrics
from service.webhooks.delivery import NotDelivered, Refused, Sender, checked_url

LOGGER = logging.getLogger("service.webhooks.outbox")
ATTEMPTS = 8
BACKOFF = 5
"""Each wait is this many times the one before: 5 s, 25 s, 2 min, 10 min, 52 min, then every 6 hours at most."""
LONGEST_WAIT_S = 6 * 3600.0
AT_ONCE, PER_OWNER, PER_HOST = 64, 16, 8
"""Deliveries under way: in all, of one key's jobs where keys are required, and to one host."""
HOST_BUSY_S = 1.0
POLL_S = 0.5
ERASED = "the job was erased before its end could be delivered"
SKIPPED_FIELDS = ("spec", "progress", "queue", "attempt")
"""Left out of the message: the spec may hold private prompts, the rest says nothing once a job has ended."""


def webhook_errors(webhook: Webhook, settings: Settings) -> list[FieldError]:
    """Why the end of a job could never be announced there: webhooks are off here, or its URL cannot be called."""
    if not settings.webhook_secret:
        message = "webhooks are off on this server (PATHPATCH_WEBHOOK_SECRET): poll, or read the events"
        return [FieldError(pointer="/webhook", message=message)]
    try:
        checked_url(webhook.url, settings.webhook_allow_http)
    except Refused as exc:
        return [FieldError(pointer="/webhook/url", message=str(exc))]
    return []


class Webhooks:
    """Delivers in the background; off without a secret."""

    def __init__(self, settings: Settings, store: AsyncJobStore, metrics: RequestMetrics) -> None:
        self._settings = settings
        self._store = store
        self._metrics = metrics
        self._deliveries: dict[asyncio.Task[None], Delivery] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is a secret to sign with."""
        return bool(self._settings.webhook_secret)

    async def run_forever(self) -> None:
        """Deliver whatever is due, until cancelled."""
        sender = self._sender()
        while True:
            try:
                for delivery in await self._due():
                    await self._start(sender, delivery)
            except PathPatchingError as exc:
                LOGGER.warning("webhooks wait for the store", extra={"reason": exc.detail})
            except Exception:
                LOGGER.exception("a round of webhooks failed")
            await asyncio.sleep(POLL_S)

    async def _due(self) -> tuple[Delivery, ...]:
        """Those that may start now, so that a slow receiver delays the webhooks of its own key only."""
        free = AT_ONCE - len(self._deliveries)
        if not free:
            return ()
        per_owner = PER_OWNER if self._settings.keys_required else AT_ONCE
        under_way = Counter(delivery.owner for delivery in self._deliveries.values())
        return await self._store.run(webhooks.due(limit=free, per_owner=per_owner, under_way=under_way))

    async def _start(self, sender: Sender, delivery: Delivery) -> None:
        host = _host(delivery)
        if sum(_host(other) == host for other in self._deliveries.values()) >= PER_HOST:
            await self._store.run(webhooks.postpone(delivery.id, HOST_BUSY_S))
            return
        task = asyncio.create_task(self._deliver(sender, delivery))
        self._deliveries[task] = delivery
        task.add_done_callback(self._deliveries.pop)

    def _sender(self) -> Sender:
        settings = self._settings
        return Sender(
            secret=settings.webhook_secret,
            allow_http=settings.webhook_allow_http,
            allow_private=settings.webhook_allow_private,
            timeout_s=settings.webhook_timeout_s,
            tls=ssl.create_default_context(),
            resolvers=ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook-names"),
            proxy=settings.webhook_proxy,
        )

    async def _deliver(self, sender: Sender, delivery: Delivery) -> None:
        about: dict[str, Any] = {"job_id": delivery.job_id, "delivery": delivery.id, "attempt": delivery.attempt}
        try:
            await self._attempt(sender, delivery, about)
        except PathPatchingError as exc:
            LOGGER.warning("webhook postponed", extra=about | {"reason": exc.detail})

    async def _attempt(self, sender: Sender, delivery: Delivery, about: dict[str, Any]) -> None:
        try:
            await sender.send(delivery.id, delivery.url, await self._message(delivery))
        except Refused as exc:
            outcome, about["reason"] = await self._bury(delivery, str(exc)), str(exc)
        except UnknownJob:
            outcome, about["reason"] = await self._bury(delivery, ERASED), ERASED
        except NotDelivered as exc:
            outcome, about["reason"] = await self._try_later(delivery, str(exc)), str(exc)
        except StoreUnavailable:
            raise
        except Exception as exc:
            # A task of its own: nobody else would see this, and it must not be tried for ever.
            LOGGER.exception("webhook fault", extra=about)
            outcome = await self._try_later(delivery, f"a fault of this service: {type(exc).__name__}")
        else:
            await self._store.run(webhooks.delivered(delivery.id))
            outcome = "delivered"
        self._metrics.webhooks.labels(outcome).inc()
        LOGGER.info("webhook %s", outcome, extra=about)

    async def _bury(self, delivery: Delivery, reason: str) -> str:
        await self._store.run(webhooks.bury(delivery.id, reason))
        return "dead"

    async def _try_later(self, delivery: Delivery, reason: str) -> str:
        if delivery.attempt >= ATTEMPTS:
            return await self._bury(delivery, reason)
        delay_s = min(LONGEST_WAIT_S, self._settings.webhook_first_retry_s * BACKOFF ** (delivery.attempt - 1))
        await self._store.run(webhooks.retry(delivery.id, delay_s, reason))
        return "retried"

    async def _message(self, delivery: Delivery) -> bytes:
        """What receivers read: the job without its spec."""
        record = await self._store.run(jobs.get(delivery.job_id))
        job = {name: value for name, value in job_document(record).items() if name not in SKIPPED_FIELDS}
        return orjson.dumps({"type": f"job.{record.status}", "timestamp": job["finished_at"], "data": job})


def _host(delivery: Delivery) -> str | None:
    """Which receiver it goes to, as far as slots are concerned."""
    return urlsplit(delivery.url).hostname
