"""A real S3 server in a process of its own: moto's, over HTTP on loopback, with one bucket."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.embedded_valkey import free_port

BUCKET = "pathpatch-test"
START_S = 120.0


class S3Server:
    """Keeps its objects in memory; ``freeze`` and ``thaw`` take it away and bring it back."""

    def __init__(self, log: Path) -> None:
        self.address = f"http://127.0.0.1:{free_port()}"
        self.url = f"s3://{BUCKET}/contents"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which clients find it."""
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
        return {"AWS_ENDPOINT_URL": self.address, **keys}

    def start(self) -> None:
        """Start it and make the bucket."""
        host, port = self.address.removeprefix("http://").split(":")
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._has_made_bucket():
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def _has_made_bucket(self) -> bool:
        try:
            return httpx.put(f"{self.address}/{BUCKET}", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def freeze(self) -> None:
        """Let it answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def s3_server(log: Path) -> Iterator[S3Server]:
    """A running server that ends with the block."""
    server = S3Server(log)
    try:
        server.start()
        yield server
    finally:
        server.stop()
