"""The container files with a Docker that is there: build, up, health, a job, a figure, restarts, down.

DOCKER names another command (`podman`, `sudo docker`), COMPOSE_FILES more files, KEEP=1 leaves all up at the end.
"""

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCKER = shlex.split(os.environ.get("DOCKER", "docker"))
FILES = ["docker-compose.yml", *os.environ.get("COMPOSE_FILES", "").split()]
ENVIRONMENT = Path("build/containers.env")
"""Relative: Docker may see this folder under another path. Git ignores it."""
PORT = int(os.environ.get("PATHPATCH_PORT", "18321"))
PROJECT = "pathpatch-check"
WAIT_S = 600.0
SPEC = {
    "model": {"name": "demo"},
    "dataset": {"kind": "ioi", "examples": 40},
    "patch": {"senders": [{"hook": "z", "layer": 1}], "receivers": [{"hook": "q", "layer": 2}]},
    "metric": {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"},
}


def compose(*words: str, files: list[str] = FILES) -> None:
    """Run docker compose on the container files; an exit code other than 0 ends the check."""
    chosen = [word for file in files for word in ("-f", file)]
    command = [*DOCKER, "compose", "-p", PROJECT, "--env-file", str(ENVIRONMENT), *chosen, *words]
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603


def timed(what: str, *words: str) -> None:
    """The same, and how long it took."""
    began = time.monotonic()
    compose(*words)
    print(f"containers: {what}: {time.monotonic() - began:.1f} s", flush=True)


class Service:
    """The service over its published port."""

    def __init__(self, key: str) -> None:
        self._key = key

    def ask(self, path: str, body: Any = None, **headers: str) -> bytes:
        """The answer's body, once the service gives one that is no error of a start."""
        sent = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, sent)
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(request, timeout=90) as answer:  # noqa: S310
                    content: bytes = answer.read()
                    return content
            except (urllib.error.URLError, ConnectionError) as exc:
                is_starting = not isinstance(exc, urllib.error.HTTPError) or exc.code == 503
                if not is_starting or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def run(self, seed: int) -> str:
        """Submit a job and wait for its result; its id."""
        spec = {**SPEC, "dataset": {**SPEC["dataset"], "seed": seed}}
        job = json.loads(self.ask("/v1/jobs", spec, Prefer="wait=60"))
        while job["status"] in ("queued", "running"):
            job = json.loads(self.ask(f"/v1/jobs/{job['id']}", Prefer="wait=60"))
        if job["status"] != "succeeded":
            raise SystemExit(f"containers: the job has {job['status']}: {job.get('error')}")
        self.ask(f"/v1/jobs/{job['id']}/result")
        return str(job["id"])


def main() -> int:
    """Exit code 0 if everything worked."""
    key = secrets.token_hex(32)
    (ROOT / ENVIRONMENT).parent.mkdir(exist_ok=True)
    settings = {"BROKER_PASSWORD": secrets.token_hex(32), "PATHPATCH_ADMIN_KEY": key, "PATHPATCH_PORT": PORT}
    settings["TORCH_INDEX"] = os.environ.get("TORCH_INDEX", "")
    (ROOT / ENVIRONMENT).write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    try:
        return check(Service(key))
    finally:
        if not os.environ.get("KEEP"):
            compose("down", "--volumes", "--timeout", "30")
            (ROOT / ENVIRONMENT).unlink()


def check(service: Service) -> int:
    """Everything that a newcomer and an operator do."""
    compose("config", "--quiet", files=[*FILES, "docker-compose.gpu.yml"])
    timed("build", "build")
    timed("up", "up", "--no-build", "--detach", "--wait", "--wait-timeout", f"{WAIT_S:g}")
    job = service.run(seed=1)
    began = time.monotonic()
    figure = service.ask(f"/v1/jobs/{job}/figure", Accept="image/svg+xml")
    print(f"containers: first figure: {time.monotonic() - began:.1f} s, {len(figure):,} bytes", flush=True)
    for name in ("worker", "service", "broker"):
        timed(f"restart of the {name}", "restart", name)
        service.ask("/readyz")
    service.ask(f"/v1/jobs/{job}/result")
    service.run(seed=2)
    print("containers: all worked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
