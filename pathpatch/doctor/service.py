"""A running service: whether it answers, takes our key, has workers, and is of our version."""

import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from api_schemas.errors import PathPatchingError
from pathpatch.doctor.broker import clock
from pathpatch.doctor.finding import Finding
from pathpatch.version import __version__

TIMEOUT_S = 10.0


def examine(url: str) -> Iterator[Finding]:
    """What the service says of itself."""
    from pathpatch.client import Client

    try:
        answer = httpx.get(f"{url.rstrip('/')}/livez", timeout=TIMEOUT_S)
    except httpx.HTTPError as exc:
        advice = "start it (pathpatch up), or set PATHPATCH_URL to where it runs"
        yield Finding("service", "fault", f"nothing answers at {url} ({type(exc).__name__})", advice)
        return
    yield from _clock(answer)
    try:
        with Client(url) as client:
            yield _version(url, client.version()["version"])
            yield from _components(client)
            yield _key(client)
            yield from _workers(client)
    except PathPatchingError as exc:
        advice = "set PATHPATCH_API_KEY to a key of this service (pathpatch keys create)"
        yield Finding("service", "fault", f"{url}: {exc}", advice)


def _clock(answer: httpx.Response) -> Iterator[Finding]:
    if date := answer.headers.get("Date"):
        yield clock("the service", parsedate_to_datetime(date).timestamp() + 0.5 - time.time())


def _version(url: str, version: str) -> Finding:
    if version != __version__:
        advice = "install one version on both sides, and on all workers"
        return Finding("service", "warning", f"{url} runs {version}, and this is {__version__}", advice)
    return Finding("service", "ok", f"{url} runs {version}")


def _components(client: Any) -> Iterator[Finding]:
    for name, part in client.health().components.items():
        if part.ok:
            yield Finding(f"service's {name}", "ok", part.detail)
        else:
            yield Finding(f"service's {name}", "fault", part.detail, "see the log of the service, and docs/deploy.md")


def _key(client: Any) -> Finding:
    caller = client.me()
    return Finding("API key", "ok", f"{caller.name}, may {', '.join(caller.scopes)}")


def _workers(client: Any) -> Iterator[Finding]:
    alive = client.workers()
    served = {name for worker in alive for name in worker.serves}
    for model in client.models():
        if not model.available and "hub" not in (model.reason or ""):
            advice = "mend its folder where the service runs; it is looked at every second"
            yield Finding(f"service's model {model.name}", "fault", str(model.reason), advice)
        elif model.available and alive and model.name not in served:
            advice = f"start a worker with PATHPATCH_SERVE={model.name}, or without PATHPATCH_SERVE"
            yield Finding(f"service's model {model.name}", "warning", "no worker serves it: its jobs wait", advice)
