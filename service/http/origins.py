"""Which requests may come: from where, for a browser's, and to which name, where no key is asked for."""

import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
OWN_SITES = frozenset({"same-origin", "none"})
"""``Sec-Fetch-Site`` of our own page, and of what a person typed in."""


def is_origin(text: str) -> bool:
    """Whether a text is a site as browsers say it: scheme, host and port alone."""
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text == f"{parts.scheme}://{parts.netloc}"


def is_foreign(method: str, headers: Mapping[str, str], allowed: Collection[str] = ()) -> bool:
    """Whether a page of another site has its visitor's browser change something here.

    Browsers say where a request comes from, and no script can make them say otherwise; other clients say nothing.
    Behind a proxy ``Origin`` and ``Host`` may differ, so that what the browser itself concludes counts first.

    Args:
        allowed: Origins of other sites that may.
    """
    if method in SAFE or headers.get("origin", "").lower() in allowed:
        return False
    if (site := headers.get("sec-fetch-site")) is not None:
        return site not in OWN_SITES
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


@dataclass(frozen=True)
class Names:
    """Names by which the service is called; those of other machines are refused, where no keys protect it.

    A page of another site may have its own name resolve to this machine (DNS rebinding): the ``Host`` header tells.
    """

    allowed: Collection[str] = ()
    addresses: bool = False
    """Whether any address will do: a page cannot have a name that is one."""

    def has(self, host: str) -> bool:
        """Whether a ``Host`` header names this machine."""
        name = (host.rsplit(":", 1)[0] if not host.endswith("]") else host).strip("[]").lower()
        if name in ("localhost", "", *self.allowed) or name.endswith(".localhost"):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return self.addresses or address.is_loopback


def names_of(host: str, is_loopback: bool, more: str) -> Names:
    """The names of a service that listens there: on loopback local ones, beyond it this machine's and those listed."""
    listed = [name.strip().lower() for name in more.split(",") if name.strip()]
    if is_loopback:
        return Names(listed)
    return Names([*listed, host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()], addresses=True)
