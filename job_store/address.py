"""``REDIS_URL``: one server (``redis://``, ``rediss://`` with TLS, ``unix://``), or the primary that Sentinels name.

``sentinel://[[USER]:PASSWORD@]HOST:PORT[,HOST:PORT...]/PRIMARY[/DB][?sentinel_password=...&replicas=1]``
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

ALLOWED = "redis://, rediss:// or unix:// with an address, or sentinel://host:port[,host:port]/primary[/db]"
SENTINEL_PORT = 26379
SENTINEL_S = 1.0
"""Time limit of a Sentinel's answer: the next one is asked then."""
VERIFY = ("required", "optional", "none")


@dataclass(frozen=True)
class Sentinels:
    """Where the Sentinels are, and what they are asked for."""

    hosts: tuple[tuple[str, int], ...]
    primary: str
    """Its name with the Sentinels."""
    db: int = 0
    username: str | None = None
    password: str | None = None
    """Of the primary and its replicas."""
    sentinel_password: str | None = None
    replicas: int = 1
    """A submit is answered once so many replicas have it."""

    @classmethod
    def of(cls, url: str) -> "Sentinels | None":
        """Those that a URL names; None if it names a server itself.

        Raises:
            ValueError: The URL makes no sense.
        """
        parts = urlsplit(url)
        if parts.scheme != "sentinel":
            return None
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = (unquote(word) for word in credentials.partition(":"))
        primary, _, db = parts.path.strip("/").partition("/")
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        unknown = set(query) - {"sentinel_password", "replicas"}
        numbers = (db or "0", query.get("replicas", "1"))
        if not hosts or not primary or unknown or not all(map(str.isdecimal, numbers)):
            raise ValueError(f"allowed is {ALLOWED}[?sentinel_password=...&replicas=1]")
        return cls(
            tuple(map(_host, hosts.split(","))),
            primary,
            int(numbers[0]),
            username or None,
            password or None,
            query.get("sentinel_password"),
            int(numbers[1]),
        )

    def options(self, retry: Any) -> dict[str, Any]:
        """Of connections to the Sentinels themselves.

        Args:
            retry: Retries nothing: redis-py would ask a dead one for many seconds before the next.
        """
        patience = {"socket_timeout": SENTINEL_S, "socket_connect_timeout": SENTINEL_S, "retry": retry}
        return patience | ({"password": self.sentinel_password} if self.sentinel_password else {})

    @property
    def login(self) -> dict[str, Any]:
        """Database and credentials of the primary."""
        return {"db": self.db, "username": self.username, "password": self.password}


def _host(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is not the address of a Sentinel: allowed is host or host:port")
    return parts.hostname, parts.port or SENTINEL_PORT


def check(url: str) -> None:
    """See that a URL makes sense.

    Raises:
        ValueError: It does not.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix", "sentinel") or not (parts.netloc or parts.path):
        raise ValueError(f"allowed is {ALLOWED}")
    Sentinels.of(url)
    verified(url)


def verified(url: str) -> str:
    """The URL with ``ssl_cert_reqs`` written out where it has TLS: kombu would take any certificate by default.

    Raises:
        ValueError: Its value is none of those known.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss":
        return url
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    query.setdefault("ssl_cert_reqs", VERIFY[0])
    if query["ssl_cert_reqs"] not in VERIFY:
        raise ValueError(f"ssl_cert_reqs is {query['ssl_cert_reqs']!r}: allowed is one of {', '.join(VERIFY)}")
    return parts._replace(query=urlencode(query)).geturl()
