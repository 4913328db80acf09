"""Commands about the service: workers, the caller, health, webhooks, versions."""

import platform
from typing import Any

import typer

from pathpatch.cli.terminal import DEFAULT_URL, AsJson, Url, as_json, connect, note, print_json, print_table, say
from pathpatch.problems import ServiceError, Unreachable
from pathpatch.version import __version__


def workers(json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the workers that are alive, and what each runs.

    Example: pathpatch workers
    """
    with connect(url) as client:
        alive = client.workers()
    if json:
        print_json([as_json(worker) for worker in alive])
        return
    rows = [
        (worker.id, worker.device, _size(worker.memory_bytes), _size(worker.device_memory_bytes),
         ", ".join(worker.models), worker.running or "idle")
        for worker in alive
    ]  # fmt: skip
    print_table(("worker", "device", "memory", "GPU memory", "holds", "runs"), rows)


def _size(count: int | None) -> str:
    return "" if count is None else f"{count / 1e9:.1f} GB"


def me(json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Show the name, the limits and the use of the key in PATHPATCH_API_KEY.

    Example: pathpatch me
    """
    with connect(url) as client:
        caller = client.me()
    if json:
        print_json(as_json(caller))
        return
    end = f", until {caller.expires_at:%Y-%m-%d %H:%M} UTC" if caller.expires_at else ""
    say(f"{caller.name} ({caller.id}), may {', '.join(caller.scopes)}{end}")
    limits, use = as_json(caller.limits), as_json(caller.use)
    kinds = (("used", use), ("limit", limits))
    rows = [(kind, name, _said(value)) for kind, numbers in kinds for name, value in numbers.items()]
    print_table(("", "of", "number"), rows)


def _said(value: Any) -> str:
    return "unlimited" if value is None else f"{value:,}" if isinstance(value, int) else f"{value}"


def health(json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Show the health of each component; the exit code is 0 only if jobs can be accepted.

    Example: pathpatch health
    """
    with connect(url) as client:
        found = client.health()
    if json:
        print_json(as_json(found))
    else:
        rows = [(name, "ok" if part.ok else "NOT OK", part.detail) for name, part in found.components.items()]
        print_table(("component", "state", "detail"), rows)
    if not found.ready:
        raise typer.Exit(1)


def webhooks(json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the webhook deliveries that were given up; needs a key with the scope admin.

    Example: pathpatch webhooks
    """
    with connect(url) as client:
        dead = client.dead_webhooks()
    if json:
        print_json([as_json(delivery) for delivery in dead])
        return
    rows = [
        (delivery.job_id, delivery.url, str(delivery.attempts), f"{delivery.died_at:%Y-%m-%d %H:%M:%S}", delivery.error)
        for delivery in dead
    ]
    print_table(("job", "url", "attempts", "given up (UTC)", "why"), rows)


def version(json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Print the versions of this command and, if one answers, of the service.

    Example: pathpatch version
    """
    known: dict[str, Any] = {"pathpatch": __version__, "python": platform.python_version(), "service": None}
    try:
        with connect(url) as client:
            known["service"] = client.version()
    except (Unreachable, ServiceError) as exc:
        note(str(exc))
    if json:
        print_json(known)
        return
    say(f"pathpatch {known['pathpatch']}, Python {known['python']}, {platform.platform()}")
    if known["service"] is not None:
        said = ", ".join(f"{name} {value}" for name, value in known["service"].items())
        say(f"service at {url}: {said}")
