"""The application: routes, errors, and what runs in the background."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.telemetry import TelemetryConfig

from api_schemas.errors import StoreUnavailable
from job_store import keys
from job_store.store import AsyncJobStore
from runtime import tracing
from service import errors
from service.accounts.keys import identified
from service.http import openapi
from service.http.cors import cors
from service.http.direct import DirectRoute, direct
from service.http.parameters import only_known_parameters
from service.http.prefix import PathPrefix
from service.http.requests import RequestFrame
from service.http.short_way import ShortWay
from service.parts import Parts
from service.routes import (
    account,
    batches,
    health,
    job_events,
    job_results,
    jobs,
    metrics,
    models,
    pages,
    webhooks,
    workers,
)
from service.settings import Settings
from service.version import package_version

LOGGER = logging.getLogger("service")
RESOURCES = (jobs, job_events, job_results, batches, models, workers, account, webhooks, health, metrics)
OPEN_TO_ALL = (
    "PATHPATCH_AUTH is off and the service listens beyond this machine: whoever reaches it may submit, read, cancel "
    "and erase every job, and make API keys. Set PATHPATCH_ADMIN_KEY, and PATHPATCH_AUTH to auto"
)
WITHOUT_A_KEY = (health, metrics)
"""Health is for probes; metrics may be opened by the operator, and ask for a key themselves."""


class NoKeys(RuntimeError):
    """The service would listen beyond this machine, and nobody could use it safely."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"listening on {host} needs API keys, and there is none: set PATHPATCH_ADMIN_KEY (32 characters or more), "
            "or create one with `pathpatch keys create` while the service listens on 127.0.0.1"
        )


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application; it talks to nothing until it is started."""
    parts = Parts.build(settings)
    app = FastAPI(
        title="pathpatch",
        version=package_version(),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        exception_handlers=errors.HANDLERS,
        redirect_slashes=False,
        telemetry=TelemetryConfig(tracing=False, metrics=False, logs=False),
    )
    app.state.parts = parts
    parameters = Depends(only_known_parameters)
    short: list[DirectRoute] = []
    for resource in RESOURCES:
        short += direct(resource.router.routes, [] if resource in WITHOUT_A_KEY else [identified])
    app.router.routes += short
    for resource in RESOURCES:
        key = [] if resource in WITHOUT_A_KEY else [Depends(identified)]
        app.include_router(resource.router, dependencies=[*key, parameters])
    app.include_router(pages.router, dependencies=[parameters])
    app.state.routes = [route for resource in (*RESOURCES, pages) for route in resource.router.routes]
    pages.serve_files(app)
    openapi.publish(app)
    app.add_middleware(ShortWay, routes=short, handlers=errors.HANDLERS)
    app.add_middleware(RequestFrame, metrics=parts.metrics, names=settings.names, origins=settings.origins)
    if settings.origins:
        app.add_middleware(CORSMiddleware, **cors(settings.origins))
    app.add_middleware(PathPrefix, root_path=settings.root_path)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    if parts.settings.tracing:
        tracing.enable("pathpatch-service")
    await require_keys(parts.settings)
    if parts.settings.is_open_to_all:
        LOGGER.warning(OPEN_TO_ALL, extra={"host": parts.settings.host})
    background = [
        asyncio.create_task(parts.feed.listen_forever(), name="feed"),
        asyncio.create_task(parts.reaper.run_forever(), name="reaper"),
        asyncio.create_task(parts.drawers.keep_ready_forever(), name="a process for figures"),
        asyncio.create_task(parts.sweeper.run_forever(), name="sweeper of blobs"),
        asyncio.create_task(parts.keyring.watch_forever(parts.feed.wake_all), name="keys of those who wait"),
    ]
    if parts.webhooks.is_on:
        background.append(asyncio.create_task(parts.webhooks.run_forever(), name="webhooks"))
    try:
        yield
    finally:
        await end_all(background)
        parts.checkers.stop()
        parts.drawers.stop()
        parts.threads.shutdown(wait=False, cancel_futures=True)
        await parts.store.close()
        await asyncio.to_thread(tracing.flush)


async def end_all(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel them until all have ended: a library in between may lose one cancellation, and the end must come."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=1.0)


async def require_keys(settings: Settings) -> None:
    """Refuse to start where keys are needed and nobody has one.

    Raises:
        NoKeys: So it is.
    """
    if not settings.keys_required or settings.admin_key:
        return
    store = AsyncJobStore.connect(settings.redis_url)
    try:
        if await store.run(keys.count_keys()) == 0:
            raise NoKeys(settings.host)
    except StoreUnavailable:
        LOGGER.warning("whether there are API keys is not known yet, because the store does not answer")
    finally:
        await store.close()
