"""A primary, two replicas and a Sentinel that watches them, all real processes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from tests.embedded_valkey import EmbeddedValkey

PRIMARY = "pathpatch"
START_S = 60.0


class Sentinel(EmbeddedValkey):
    """One Sentinel, whose word alone counts."""

    def watch(self, primary: EmbeddedValkey) -> None:
        """Start it; a primary that is silent for a second is replaced."""
        self.folder.mkdir(parents=True)
        lines = [
            f"dir {self.folder}",
            f"requirepass {self.password}",
            f"sentinel monitor {PRIMARY} 127.0.0.1 {primary.port} 1",
            f"sentinel auth-pass {PRIMARY} {primary.password}",
            f"sentinel down-after-milliseconds {PRIMARY} 1000",
            f"sentinel failover-timeout {PRIMARY} 5000",
        ]
        configuration = self.folder / "sentinel.conf"
        configuration.write_text("\n".join(lines) + "\n")
        self._launch([str(configuration), "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"])


class ReplicatedBroker:
    """``url`` names the Sentinel; ``kill`` kills whichever server is the primary."""

    def __init__(self, folder: Path) -> None:
        self.servers = [EmbeddedValkey(folder / str(number)) for number in range(3)]
        first = self.servers[0]
        for server in self.servers[1:]:
            server.password = first.password
            server._extra = ("--replicaof", f"127.0.0.1 {first.port}", "--masterauth", first.password)
        first._extra = ("--masterauth", first.password)
        self.killed: EmbeddedValkey | None = None
        self.sentinel = Sentinel(folder / "sentinel")

    @property
    def url(self) -> str:
        """What ``REDIS_URL`` is; the first Sentinel of it never answers."""
        hosts = f"127.0.0.1:1,127.0.0.1:{self.sentinel.port}"
        return f"sentinel://:{self.servers[0].password}@{hosts}/{PRIMARY}/0?sentinel_password={self.sentinel.password}"

    def start(self) -> None:
        """Start all, and wait until both replicas follow and the Sentinel knows them."""
        for server in self.servers:
            server.start()
        self.sentinel.watch(self.servers[0])
        self._wait(lambda: len(self._followers()) == 2, "the replicas do not follow")
        self._wait(lambda: len(self._asked("sentinel_slaves")) == 2, "the Sentinel does not know the replicas")

    def _wait(self, is_so: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + START_S
        while not is_so():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.1)

    def _asked(self, question: str) -> list[object]:
        with self.sentinel_client() as client:
            return list(getattr(client, question)(PRIMARY))

    def sentinel_client(self) -> "redis.Redis":
        """A client of the Sentinel."""
        return redis.Redis.from_url(self.sentinel.url.removesuffix("/0"))

    def _followers(self) -> list[str]:
        with redis.Redis.from_url(self.primary.url) as client:
            info = client.info("replication")
        return [name for name, value in info.items() if name.startswith("slave") and value["state"] == "online"]

    @property
    def primary(self) -> EmbeddedValkey:
        """The server that the Sentinel names."""
        _, port = self._asked("sentinel_get_master_addr_by_name")
        return next(server for server in self.servers if server.port == int(str(port)))

    def kill(self) -> None:
        """``kill -9`` the primary; the Sentinel makes a replica the primary."""
        self.killed = self.primary
        self.killed.kill()

    def restart(self) -> None:
        """Once another is the primary, start the killed one again, as its replica."""
        assert self.killed is not None
        self._wait(lambda: self.primary is not self.killed, "no replica became the primary")
        self.killed._extra = ("--replicaof", f"127.0.0.1 {self.primary.port}", "--masterauth", self.killed.password)
        self.killed.restart()
        self._wait(lambda: len(self._followers()) == 2, "the replicas do not follow")

    def stop(self) -> None:
        """End all."""
        for server in (self.sentinel, *self.servers):
            with suppress(ProcessLookupError):
                server.stop()


@contextmanager
def replicated_broker(folder: Path) -> Iterator[ReplicatedBroker]:
    """A running one that ends with the block."""
    broker = ReplicatedBroker(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
