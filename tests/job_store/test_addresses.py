"""``REDIS_URL``: what is refused, TLS with certificates that are verified, and what Celery makes of each."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu.entity import Queue

from api_schemas.errors import StoreUnavailable
from job_store import jobs
from job_store.address import Sentinels, check
from job_store.broker import TASK, broker_settings, queue_of
from job_store.durability import try_create
from job_store.store import AsyncJobStore, JobStore
from tests.embedded_valkey import EmbeddedValkey
from tests.stored_jobs import new_job, submit

REDIS = shutil.which("redis-server")


def test_a_sentinel_url_is_read_whole() -> None:
    """Credentials with odd characters, several hosts, IPv6, the default port."""
    found = Sentinels.of("sentinel://me:p%40ss@a:1,[::1]:2,c/main/3?sentinel_password=s%26t&replicas=2")
    assert found == Sentinels((("a", 1), ("::1", 2), ("c", 26379)), "main", 3, "me", "p@ss", "s&t", 2)
    assert broker_settings("sentinel://:p%40@a:1,[::1]/main/3")["broker_url"] == (
        "sentinel://:p%40@a:1/3;sentinel://:p%40@[::1]:26379/3"
    )
    assert Sentinels.of("redis://host") is None


@pytest.mark.parametrize(
    "url",
    [
        "host:6379",
        "http://host",
        "redis:",
        "sentinel://host",
        "sentinel:///main",
        "sentinel://a/main/x",
        "sentinel://a,/main",
        "sentinel://a/main?replicas=-1",
        "sentinel://a/main?tls=1",
        "rediss://host?ssl_cert_reqs=maybe",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    """At the start, with what is allowed."""
    with pytest.raises(ValueError, match="allowed is"):
        check(url)


class TlsServer(EmbeddedValkey):
    """Redis with TLS alone, under a certificate of its own authority."""

    def __init__(self, folder: Path) -> None:
        assert REDIS is not None
        super().__init__(folder, Path(REDIS))
        folder.mkdir()
        self.authority = folder / "ca.crt"
        subject = ("-subj", "/CN=pathpatch", "-days", "2", "-nodes", "-newkey", "rsa:2048")
        for name in ("ca", "other"):
            files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt")
            subprocess.run(["openssl", "req", "-x509", *subject, *files], check=True, capture_output=True)
        signed = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
        files = ("-keyout", folder / "server.key", "-out", folder / "server.crt")
        subprocess.run(["openssl", "req", "-x509", *subject, *signed, *files], check=True, capture_output=True)
        certificates = (str(folder / "server.crt"), str(folder / "server.key"), str(self.authority))
        names = ("--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file")
        pairs = (word for pair in zip(names, certificates, strict=True) for word in pair)
        self._extra = ("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", *pairs)

    @property
    def url(self) -> str:
        """With the authority that signed its certificate."""
        return self.trusting(self.authority)

    def trusting(self, authority: Path | None) -> str:
        """Its address for a client that trusts somebody."""
        address = f"rediss://:{self.password}@127.0.0.1:{self.port}/0"
        return address if authority is None else f"{address}?ssl_ca_certs={authority}"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """A running one."""
    if REDIS is None or shutil.which("openssl") is None:
        pytest.skip("needs redis-server, which has TLS, and openssl")
    server = TlsServer(tmp_path_factory.mktemp("tls") / "server")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def published(url: str) -> None:
    """One message, as service and workers send it."""
    celery = Celery("tls", set_as_current=False)
    celery.conf.update(broker_settings(url))
    queue = Queue(queue_of("demo"), routing_key=queue_of("demo"))
    celery.send_task(TASK, args=["demo"], queue=queue, ignore_result=True, retry=False)
    celery.close()


async def checked(url: str) -> int:
    """A step of the service's store."""
    store = AsyncJobStore.connect(url)
    try:
        return await store.run(try_create())
    finally:
        await store.close()


def test_store_and_celery_speak_tls(tls: TlsServer) -> None:
    """With the authority's certificate in the URL."""
    store = JobStore.connect(tls.url)
    submit(store, job := new_job())
    assert store.run(jobs.get(job.id)).status == "queued"
    assert asyncio.run(checked(tls.url)) == 1
    published(tls.url)
    assert store.client.llen(queue_of("demo")) == 2
    store.close()


@pytest.mark.parametrize("trusted", ["other.crt", None])
def test_a_certificate_of_another_authority_is_refused_by_both(tls: TlsServer, trusted: str | None) -> None:
    """kombu's own default would take any certificate, and send the password to whoever answers."""
    url = tls.trusting(None if trusted is None else tls.folder / trusted)
    with pytest.raises(StoreUnavailable):
        JobStore.connect(url).run(try_create())
    with pytest.raises(StoreUnavailable):
        asyncio.run(checked(url))
    celery = Celery("tls", set_as_current=False)
    celery.conf.update(broker_settings(url))
    assert celery.connection_for_write().ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED
