"""Webhooks never reach where clouds keep secrets, and can be made to go through a proxy."""

import socket
import threading
from pathlib import Path

import pytest

from job_store.store import JobStore
from service.settings import BadSetting, Settings
from service.webhooks.delivery import is_metadata, is_public
from tests.embedded_valkey import EmbeddedValkey
from tests.live_service import WorkerHand, live_service, spec
from tests.live_worker import until

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "192.0.0.192",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "::ffff:168.63.129.16",
        "::ffff:192.0.0.192",
        "64:ff9b::a83f:8110",
        "2002:a83f:8110::1",
    ],
)
def test_where_clouds_keep_secrets_is_never_called(address: str) -> None:
    """By whichever form of the address; some of these are public as far as ``ipaddress`` knows."""
    assert is_metadata(address) and not is_public(address)


def test_it_is_refused_also_where_a_labs_own_network_is_allowed(
    valkey: EmbeddedValkey, store: JobStore, tmp_path: Path
) -> None:
    """`PATHPATCH_WEBHOOK_ALLOW_PRIVATE` is for receivers, not for the machine's credentials."""
    settings = {"webhook_secret": SECRET, "webhook_allow_http": "1", "webhook_allow_private": "1"}
    with live_service(valkey, tmp_path / "service.log", **settings) as service:
        for seed, host in enumerate(("169.254.169.254", "168.63.129.16", "[::ffff:192.0.0.192]")):
            service.client.post("/v1/jobs", json=spec(seed, webhook={"url": f"http://{host}/hook"}))
        WorkerHand(store).work_off()
        dead = until(lambda: found if len(found := _dead(service.client)) == 3 else [], 10)
        assert all("a cloud keeps the secrets" in error for error in dead)


def _dead(client) -> list[str]:
    return [dead["error"] for dead in client.get("/v1/webhooks/dead").json()["data"]]


class Proxy:
    """Notes the first line and the Host of what it is asked, and answers for the receiver."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(65536).split(b"\r\n")[0])
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        self._listener.close()


def test_webhooks_go_through_the_operators_proxy(valkey: EmbeddedValkey, store: JobStore, tmp_path: Path) -> None:
    """It is asked for names that this machine cannot resolve; bare private addresses do not get so far."""
    proxy = Proxy()
    settings = {"webhook_secret": SECRET, "webhook_allow_http": "1", "webhook_proxy": proxy.url}
    with live_service(valkey, tmp_path / "service.log", **settings) as service:
        for seed, host in enumerate(("receiver.invalid", "10.0.0.1")):
            service.client.post("/v1/jobs", json=spec(seed, webhook={"url": f"http://{host}/hook"}))
        WorkerHand(store).work_off()
        assert until(lambda: _dead(service.client), 10) == ["10.0.0.1 is not on the open internet"]
        assert until(lambda: proxy.asked, 10) == [b"POST http://receiver.invalid/hook HTTP/1.1"]
    proxy.close()


@pytest.mark.parametrize("url", ["proxy:3128", "https://proxy:3128", "http://", "http://proxy/path"])
def test_a_proxy_that_makes_no_sense_is_refused_at_the_start(url: str) -> None:
    """With what it may be."""
    with pytest.raises(BadSetting, match=r"PATHPATCH_WEBHOOK_PROXY is .*http://host:port"):
        Settings.read({"PATHPATCH_WEBHOOK_PROXY": url})
