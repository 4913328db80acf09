"""One webhook delivery: a signed POST to an address that was checked, and to no other."""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
from standardwebhooks import Webhook

SUCCESS = range(200, 300)
REDIRECT = range(300, 400)
GONE = 410
NAT64 = ip_network("64:ff9b::/96")
VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


class Refused(Exception):
    """The receiver may not be called at all; trying again would not help."""


class NotDelivered(Exception):
    """The receiver did not accept the message this time."""


def checked_url(url: str, allow_http: bool) -> SplitResult:
    """The parts of a URL that may be called.

    Raises:
        Refused: Another scheme than https, a name and password in it, no host, or one that no name server can be asked.
    """
    if not VISIBLE_ASCII.fullmatch(url):
        raise Refused(f"{url[:200]!r} is not written in visible ASCII: escape what is not, and write a host as xn--...")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise Refused(f"{url[:200]!r} is not a URL: {exc}") from None
    if parts.scheme not in (("https", "http") if allow_http else ("https",)):
        raise Refused(f"the scheme {parts.scheme!r} is not allowed: use https")
    if not parts.hostname or not _can_be_looked_up(parts.hostname):
        raise Refused(f"{url[:200]!r} names no host")
    if parts.username is not None or parts.password is not None:
        raise Refused("a URL with a name or password in it is not allowed")
    return parts


def _can_be_looked_up(host: str) -> bool:
    """Whether no label of a name is empty or too long: resolving fails on such before any server is asked."""
    try:
        return bool(host.encode("idna"))
    except UnicodeError:
        return False


METADATA = tuple(
    map(
        ip_network,
        (
            "169.254.0.0/16",  # AWS, Google, Azure, Oracle, DigitalOcean, OpenStack and most others
            "192.0.0.192/32",  # Oracle
            "168.63.129.16/32",  # Azure's WireServer, which is a public address
            "100.100.100.200/32",  # Alibaba
            "fd00:ec2::/32",  # AWS, over IPv6
            "fd20:ce::/32",  # Google, over IPv6
        ),
    )
)
"""Where clouds tell a machine its own secrets: refused whatever ``ipaddress`` thinks of them."""


def is_metadata(address: str) -> bool:
    """Whether a cloud may tell secrets there."""
    found = _embedded(address)
    return any(found.version == network.version and found in network for network in METADATA)


def _embedded(address: str) -> IPv4Address | IPv6Address:
    """The address that is meant, also where it is wrapped in one of IPv6."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found in NAT64:
            return IPv4Address(int(found) & 0xFFFFFFFF)
        return found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None) or found
    return found


def is_public(address: str) -> bool:
    """Whether an address is on the open internet: not private, loopback, multicast, reserved, nor a cloud's."""
    if is_metadata(address):
        return False
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.is_site_local:
            return False
        found = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None) or found
    return found.is_global and not found.is_multicast and not found.is_reserved


def _addresses(host: str, port: int) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the very address that was checked: a name that resolves differently the next moment gains nothing."""

    def __init__(self, allow_private: bool, resolvers: Executor) -> None:
        self._allow_private = allow_private
        self._resolvers = resolvers
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's own interface
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.run_in_executor(self._resolvers, _addresses, host, port)
        except OSError as exc:
            raise httpcore.ConnectError(f"{host} does not resolve: {exc}") from exc
        if any(map(is_metadata, found)):
            raise Refused(f"{host} resolves to {found[0]}, where a cloud keeps the secrets of its machines")
        private = [address for address in found if not is_public(address)]
        if private and not self._allow_private:
            raise Refused(f"{host} resolves to {private[0]}, which is not on the open internet")
        return await self._backend.connect_tcp(found[0], port, timeout, local_address, socket_options)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


@dataclass(frozen=True)
class Sender:
    """Signs and sends; one connection per message, no redirects, and the answer's body is not read."""

    secret: str
    allow_http: bool
    allow_private: bool
    timeout_s: float
    tls: ssl.SSLContext
    resolvers: Executor
    """Look names up, in threads that nothing else needs: a name server may not answer for half a minute."""
    proxy: str = ""
    """What all goes through: it resolves names and decides what may be called; bare addresses are checked here."""

    async def send(self, message_id: str, url: str, body: bytes) -> None:
        """Deliver one message.

        Raises:
            Refused: It may not be sent there.
            NotDelivered: It was not accepted, or not in time.
        """
        checked_url(url, self.allow_http)
        try:
            async with asyncio.timeout(self.timeout_s):
                status = await self._post(url, self._headers(message_id, body), body)
        except TimeoutError:
            raise NotDelivered(f"no answer within {self.timeout_s:g} s") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as exc:
            raise NotDelivered(f"{type(exc).__name__}: {exc}") from None
        if status == GONE:
            raise Refused("the receiver answered 410: it wants no more")
        if status in REDIRECT:
            raise NotDelivered(f"the receiver answered {status}: redirects are not followed")
        if status not in SUCCESS:
            raise NotDelivered(f"the receiver answered {status}")

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        return {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "user-agent": "pathpatch-webhooks",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self.secret).sign(message_id, now, body.decode()),
        }

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> int:
        async with (
            self._connections(url) as pool,
            pool.stream(
                "POST", url, headers=list({"host": urlsplit(url).netloc, **headers}.items()), content=body
            ) as response,
        ):
            return int(response.status)

    def _connections(self, url: str) -> httpcore.AsyncConnectionPool:
        """For one message, to an address that is checked."""
        if not self.proxy:
            backend = _CheckedBackend(self.allow_private, self.resolvers)
            return httpcore.AsyncConnectionPool(self.tls, max_connections=1, network_backend=backend)
        _check_literal(urlsplit(url).hostname or "", self.allow_private)
        return httpcore.AsyncHTTPProxy(self.proxy, ssl_context=self.tls, max_connections=1)


def _check_literal(host: str, allow_private: bool) -> None:
    """What can be known of a host without asking a name server."""
    try:
        is_refused = is_metadata(host) or not (allow_private or is_public(host))
    except ValueError:
        return
    if is_refused:
        raise Refused(f"{host} is not on the open internet")
