"""A whole stack on one machine: broker, workers and service as processes of their own, and none left behind."""

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pathpatch.stack import append_only
from pathpatch.stack.broker import Broker, free_port
from pathpatch.stack.data_folder import DataFolder
from pathpatch.stack.errors import NotReady, PortInUse, ProcessDied, StackFailed
from pathpatch.stack.reserve import Reserve
from pathpatch.stack.supervision import Program, Say, Supervisor

READY_S = 180.0
POLL_S = 0.1
BROKER_STAGE, WORKER_STAGE, SERVICE_STAGE = range(3)
SERVICE_SECRETS = ("PATHPATCH_ADMIN_KEY", "PATHPATCH_WEBHOOK_SECRET")
PACKAGES = Path(__file__).resolve().parents[2]  # where service/ and worker/ lie, installed or in a clone


def default_data_dir() -> Path:
    """``PATHPATCH_DATA_DIR``, or the user's data folder."""
    if given := os.environ.get("PATHPATCH_DATA_DIR"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "pathpatch"


def default_cache_dir() -> Path:
    """Where a stack with a temporary data folder keeps what is worth keeping: processed weights."""
    if given := os.environ.get("PATHPATCH_DATA_DIR"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pathpatch"


def blobs_of(data_dir: Path) -> str:
    """Where a stack with a broker of its own keeps large contents of jobs."""
    return (data_dir.absolute() / "blobs").as_uri()


@dataclass(frozen=True)
class StackSettings:
    """How to run a stack."""

    data_dir: Path = field(default_factory=default_data_dir)
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes any free one."""
    workers: int = 1
    device: str | None = None
    """Device of the workers, such as ``cpu`` or ``cuda``; None leaves it to them."""
    redis_url: str | None = field(default_factory=lambda: os.environ.get("REDIS_URL") or None)
    """Use this server instead of starting one."""
    cache_dir: Path | None = None
    """Where processed weights are kept; by default in the data folder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More variables for the service and the workers."""
    ready_s: float = READY_S
    """Longest wait for the stack to be ready."""


def require_installed(parts: Iterable[str] = ("uvicorn", "celery", "torch")) -> None:
    """Refuse to start what is not there.

    Raises:
        StackFailed: Only the client is installed; says what to install.
    """
    if missing := [part for part in parts if find_spec(part) is None]:
        raise StackFailed(
            f"Only the client is installed ({', '.join(missing)} not found): pip install 'pathpatch[local]', "
            "or `make setup` in a clone, installs what runs on one machine."
        )


def _silent(name: str, line: str) -> None:
    pass


class Stack:
    """Broker, workers and service. ``start`` returns when jobs can run; ``stop`` when every process is gone."""

    def __init__(self, settings: StackSettings, say: Say = _silent) -> None:
        self.settings = settings
        self.port = settings.port or free_port(settings.host)
        self._say = say
        self._folder: DataFolder | None = None
        self._supervisor: Supervisor | None = None
        self._reserve: Reserve | None = None

    @property
    def url(self) -> str:
        """Where the service answers, as seen from this machine."""
        host = "127.0.0.1" if self.settings.host in ("", "0.0.0.0", "::") else self.settings.host  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def processes(self) -> dict[str, int]:
        """Process id by name: ``broker``, ``worker-1``, ..., ``service``."""
        children = self._supervisor.children if self._supervisor else []
        return {child.name: child.process.pid for child in children}

    def start(self) -> None:
        """Start everything and wait until a worker is ready.

        Raises:
            StackFailed: The folder or the port is taken, a process died while starting, or it took too long.
        """
        require_installed()
        self._folder = DataFolder(self.settings.data_dir)
        try:
            _require_free_port(self.settings.host, self.port)
            self._folder.note_holder(self.url)
            self._supervisor = Supervisor(self._say, keep_open=(self._folder.descriptor,))
            self._start_processes(self._supervisor, self._folder)
        except BaseException:
            self.stop()
            raise

    def _start_processes(self, supervisor: Supervisor, folder: DataFolder) -> None:
        redis_url = self.settings.redis_url or self._start_broker(supervisor, folder)
        shared = self._environment(redis_url)
        for number in range(1, self.settings.workers + 1):
            supervisor.start(_worker(number, self.settings, shared))
        supervisor.start(_service(self.settings.host, self.port, self.url, shared))
        self._wait(supervisor, "the service and a worker", self._is_ready)
        supervisor.keep_alive()

    def _start_broker(self, supervisor: Supervisor, folder: DataFolder) -> str:
        broker = Broker.prepare(folder.path / "broker")
        append_only.repair(broker.folder, lambda told: self._say("stack", told))
        lock = (folder.descriptor,)
        environment = _without_secrets(os.environ)
        supervisor.start(Program("broker", broker.command, environment, BROKER_STAGE, grace_s=10.0, keep_open=lock))
        self._wait(supervisor, "the broker to read its data", broker.answers)
        self._reserve = Reserve(broker, self._say)
        self._reserve.start()
        return broker.url

    def _environment(self, redis_url: str) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        defaults = {"PATHPATCH_LOG_FORMAT": "text"}
        if self.settings.redis_url is None:  # others than this stack's processes may use a broker that is not its own
            defaults["PATHPATCH_BLOBS"] = blobs_of(self.settings.data_dir)
        ours = {"REDIS_URL": redis_url, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        ours["PATHPATCH_DATA_DIR"] = str(self.settings.cache_dir or self.settings.data_dir)
        return {**defaults, **os.environ, **self.settings.environment, **ours}

    def _is_ready(self) -> bool:
        health = _readiness(self.url)
        return bool(health) and health["ready"] and health["components"].get("workers", {"ok": True})["ok"]

    def _wait(self, supervisor: Supervisor, what: str, is_there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.settings.ready_s
        while not is_there():
            if (dead := supervisor.dead()) is not None:
                time.sleep(0.2)  # its last words may still be on their way
                raise ProcessDied(dead.name, dead.process.returncode, list(dead.last_words))
            if time.monotonic() > deadline:
                raise NotReady(self.settings.ready_s, what)
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End service, workers and broker, in this order, and let go of the data folder."""
        if self._reserve is not None:
            self._reserve.stop()
            self._reserve = None
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
        if self._folder is not None:
            self._folder.release()
            self._folder = None

    def kill(self) -> None:
        """End every process at once, for those who do not want to wait for ``stop``."""
        if self._supervisor is not None:
            self._supervisor.kill()

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


def _service(host: str, port: int, url: str, shared: Mapping[str, str]) -> Program:
    own = {"PATHPATCH_HOST": host, "PATHPATCH_PORT": str(port)}
    command = [sys.executable, "-P", "-m", "service"]
    return Program("service", command, {**shared, **own}, SERVICE_STAGE, grace_s=15.0, lives=lambda: _lives(url))


def _worker(number: int, settings: StackSettings, shared: Mapping[str, str]) -> Program:
    own = {"PATHPATCH_WORKER_NAME": f"worker-{number}", "PATHPATCH_SHARED_BY": str(settings.workers)}
    if settings.device is not None:
        own["PATHPATCH_DEVICE"] = settings.device
    command = [sys.executable, "-P", "-m", "worker"]
    return Program(f"worker-{number}", command, _without_secrets(shared) | own, WORKER_STAGE, grace_s=30.0)


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Only the service needs to know them."""
    return {name: value for name, value in environment.items() if name not in SERVICE_SECRETS}


def _require_free_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as exc:
            raise StackFailed(f"Port {port} may be opened by an administrator only: take one above 1023.") from exc
        except socket.gaierror as exc:
            raise StackFailed(f"{host!r} is not an address of this machine.") from exc
        except OSError as exc:
            raise PortInUse(host, port) from exc


def _lives(url: str) -> bool:
    """Whether the service answers at all, whatever it says."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/livez", timeout=5.0) as answer:
            return bool(answer.read())
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _readiness(url: str) -> dict[str, Any]:
    """The service's own report, or nothing while it does not answer. Proxies are for other hosts than this one."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/readyz", timeout=2.0) as answer:
            report: dict[str, Any] = json.load(answer)
            return report
    except (OSError, ValueError):
        return {}
