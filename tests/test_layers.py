"""Imports point one way, and stay light: a fresh interpreter imports each layer, and says what came along."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TORCH = {"torch", "transformers", "transformer_lens"}
QUEUE = {"celery", "kombu", "redis", "valkey"}
HTTP_SERVER = {"fastapi", "starlette", "uvicorn"}

FORBIDDEN = {
    "api_schemas": TORCH | QUEUE | HTTP_SERVER | {"httpx", "numpy", "job_store", "service", "worker", "pathpatch"},
    "checkpoints": TORCH | QUEUE | HTTP_SERVER | {"httpx", "job_store", "service", "worker", "pathpatch"},
    "planning": TORCH | QUEUE | HTTP_SERVER | {"httpx", "job_store", "service", "worker", "pathpatch"},
    "runtime": TORCH | QUEUE | HTTP_SERVER | {"httpx", "job_store", "service", "worker", "pathpatch"},
    "blob_store": TORCH | QUEUE | HTTP_SERVER | {"httpx", "numpy", "job_store", "service", "worker", "pathpatch"},
    "job_store": TORCH | HTTP_SERVER | {"service", "worker", "pathpatch"},
    "service": TORCH | {"worker"},
    "worker.engine": QUEUE | HTTP_SERVER | {"httpx", "job_store", "service", "pathpatch", "worker.tasks"},
    "worker": HTTP_SERVER | {"service", "pathpatch"},
    "pathpatch": {"httpx", "numpy", "plotly", "rich", "typer"},
    "pathpatch.client": TORCH | QUEUE | HTTP_SERVER | {"job_store", "service", "worker"},
    "pathpatch.cli": TORCH | QUEUE | HTTP_SERVER | {"job_store", "service", "worker", "plotly", "matplotlib"},
    "pathpatch.local": TORCH | QUEUE | HTTP_SERVER | {"job_store", "service", "worker"},
    "pathpatch.figures": TORCH | QUEUE | HTTP_SERVER | {"job_store", "service", "worker"},
}


def modules_of(layer: str) -> list[str]:
    """The layer's modules; a package of processes is imported whole, but for its ``__main__``."""
    path = ROOT / Path(*layer.split("."))
    if layer == "pathpatch" or not path.is_dir():
        return [layer]
    files = sorted(path.rglob("*.py"))
    dotted = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.name != "__main__.py")
    return [name.removesuffix(".__init__") for name in dotted]


def imported_with(modules: list[str]) -> set[str]:
    """Names in ``sys.modules`` after importing these in a fresh interpreter, packages and their parts alike."""
    imports = "\n".join(f"import {module}" for module in modules)
    code = f"import json, sys\n{imports}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    names: list[str] = json.loads(run.stdout.splitlines()[-1])
    return set(names)


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_a_layer_imports_nothing_that_it_must_not(layer: str) -> None:
    """The client installs without torch, the service starts without it, and the engine knows of no queue."""
    came_along = imported_with(modules_of(layer)) & FORBIDDEN[layer]
    assert not came_along, f"importing {layer} also imports {', '.join(sorted(came_along))}"


def test_the_guard_script_needs_the_standard_library_only() -> None:
    """It is started without site-packages, to cost little and to depend on nothing."""
    run = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "pathpatch" / "stack" / "guard.py")],
        stdin=subprocess.DEVNULL,
        timeout=20,
    )
    assert run.returncode == 0
