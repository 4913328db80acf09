"""Health by component, and what is running."""

import asyncio
import platform
import time

from fastapi import APIRouter, Response

from api_schemas.accounts import Liveness, Version
from api_schemas.errors import PathPatchingError
from api_schemas.jobs import ComponentHealth, Readiness
from job_store import workers
from job_store.durability import try_create
from service.http import documented as doc
from service.http.answers import json_answer
from service.parts import Parts, PartsOf, in_thread
from service.version import package_version

router = APIRouter(tags=["service"])

PATIENCE_S = 3.0


@router.get(
    "/livez",
    summary="Is the process alive?",
    operation_id="get_livez",
    responses={**doc.answer(200, "It answers.", Liveness), **doc.only_problems("invalid_parameter", "internal")},
)
async def get_livez() -> Response:
    """Depends on nothing else: restarting this process would not cure a broker that is down."""
    return json_answer({"alive": True})


@router.get(
    "/readyz",
    summary="Can jobs be accepted?",
    operation_id="get_readyz",
    responses={
        **doc.answer(200, "Yes. A component may still be missing: without workers, jobs wait.", Readiness),
        **doc.answer(503, "No; the components say why.", Readiness, Retry_After=doc.RETRY_AFTER),
        **doc.only_problems("invalid_parameter", "internal"),
    },
)
async def get_readyz(parts: PartsOf) -> Response:
    """By component, with reasons."""
    store, blobs, alive, models = await asyncio.gather(_store(parts), _blobs(parts), _workers(parts), _models(parts))
    components = {"store": store, "blobs": blobs, "workers": alive, "models": models}
    webhooks = "on" if parts.webhooks.is_on else "off (PATHPATCH_WEBHOOK_SECRET is not set)"
    components["webhooks"] = ComponentHealth(ok=True, detail=webhooks)
    is_ready = all(components[name].ok for name in ("store", "blobs", "models"))
    found = Readiness(ready=is_ready, components=components)
    status, headers = (200, {}) if found.ready else (503, {"Retry-After": "2"})
    return Response(found.model_dump_json(), status, headers | {"Cache-Control": "no-store"}, "application/json")


async def _store(parts: Parts) -> ComponentHealth:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await parts.store.run(try_create())
    except TimeoutError:
        return ComponentHealth(ok=False, detail=f"no answer within {PATIENCE_S:g} s")
    except PathPatchingError as exc:
        return ComponentHealth(ok=False, detail=exc.detail)
    return ComponentHealth(ok=True, detail=f"answered in {1000 * (time.perf_counter() - started):.1f} ms")


async def _blobs(parts: Parts) -> ComponentHealth:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return ComponentHealth(ok=True, detail=await parts.store.check_blobs())
    except TimeoutError:
        return ComponentHealth(ok=False, detail=f"no answer within {PATIENCE_S:g} s")
    except PathPatchingError as exc:
        return ComponentHealth(ok=False, detail=exc.detail)


async def _workers(parts: Parts) -> ComponentHealth:
    try:
        async with asyncio.timeout(PATIENCE_S):
            alive = await parts.store.run(workers.list_workers())
    except (TimeoutError, PathPatchingError):
        return ComponentHealth(ok=False, detail="unknown, because the store does not answer")
    if not alive:
        return ComponentHealth(ok=False, detail="no worker has sent a heartbeat: jobs are accepted, and wait")
    return ComponentHealth(ok=True, detail=", ".join(f"{worker.id} ({worker.device})" for worker in alive))


async def _models(parts: Parts) -> ComponentHealth:
    names = [info.name for info in await in_thread(parts, parts.catalog.list) if info.available]
    return ComponentHealth(
        ok=bool(names), detail=f"found: {', '.join(names)}" if names else "no model's files were found"
    )


@router.get(
    "/version",
    summary="What is running?",
    operation_id="get_version",
    responses={**doc.answer(200, "Versions.", Version), **doc.only_problems("invalid_parameter", "internal")},
)
async def get_version() -> Response:
    """Version of pathpatch and of its API."""
    return json_answer({"version": package_version(), "api": "v1", "python": platform.python_version()})
