"""Commands about the service: models, workers, versions."""

import platform
from typing import Any

from pathpatch import __version__
from pathpatch.problems import ServiceError, Unreachable
from pathpatch.terminal import DEFAULT_URL, AsJson, Url, as_json, connect, note, print_json, print_table


def models(json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """List the models of the service, and whether their files were found.

    Example: pathpatch models
    """
    with connect(url) as client:
        found = client.models()
    if json:
        print_json([as_json(model) for model in found])
        return
    rows = []
    for model in found:
        size = f"{model.shape.n_layers} x {model.shape.n_heads}" if model.shape else ""
        state = "available" if model.available else f"not available: {model.reason}"
        rows.append((model.name, size, (model.revision or "")[:12], ", ".join(model.workers), state))
    print_table(("model", "layers x heads", "revision", "held by", "state"), rows)


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
    print(f"pathpatch {known['pathpatch']}, Python {known['python']}, {platform.platform()}")
    if known["service"] is not None:
        said = ", ".join(f"{name} {value}" for name, value in known["service"].items())
        print(f"service at {url}: {said}")
