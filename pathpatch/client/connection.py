"""Where the service is and how to talk to it: address, key, version, and what a lost request means."""

import os
import re
import warnings
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from api_schemas.errors import Unauthenticated
from pathpatch.client.calls import VERSION_HEADER, Answer, Call
from pathpatch.client.retries import MOST_RETRIES, Lost
from pathpatch.problems import Unreachable
from pathpatch.version import __version__

DEFAULT_URL = "http://127.0.0.1:8000"
RECONNECT_S = 1.0
FEW_RETRIES = 2
_CAN_BE_SENT = re.compile(r"[!-~]*")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class VersionMismatch(UserWarning):
    """Client and service are of different versions: something may not be understood."""


@dataclass
class Connection:
    """A service's address and the key to it."""

    url: str
    api_key: str | None
    timeout_s: float
    is_known: bool = False
    """Whether a service has answered there: if it is gone now, it may come back."""

    @classmethod
    def of(cls, url: str | None, api_key: str | None, timeout_s: float) -> "Connection":
        """What was given, else what the environment says, else this machine.

        Raises:
            Unreachable: The address is none.
            Unauthenticated: The key cannot be sent; found here, since an error of httpx would quote it.
        """
        address = url or os.environ.get("PATHPATCH_URL") or DEFAULT_URL
        if "://" not in address:
            address = f"http://{address}"
        try:
            urlsplit(address).port  # noqa: B018
        except ValueError as exc:
            raise Unreachable(address, f"that is no address: {exc}") from exc
        key = (api_key or os.environ.get("PATHPATCH_API_KEY") or "").strip()
        if not _CAN_BE_SENT.fullmatch(key):
            raise Unauthenticated(
                "the API key has characters that no key has: spaces, line breaks or non-ASCII letters"
            )
        return cls(address.rstrip("/"), key or None, timeout_s)

    def options(self) -> dict[str, Any]:
        """Options of an httpx client. Proxies are for other hosts than this one."""
        headers = {"user-agent": f"pathpatch-python/{__version__}", "accept": "application/json"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return {"base_url": self.url, "headers": headers, "timeout": self.timeout_s, "trust_env": not self.is_loopback}

    @property
    def is_loopback(self) -> bool:
        """Whether the service is on this machine."""
        return urlsplit(self.url).hostname in _LOOPBACK

    def arguments(self, call: Call[Any]) -> dict[str, Any]:
        """Arguments of an httpx request; the service may hold the answer back for the call's own wait."""
        timeout = httpx.Timeout(self.timeout_s, read=self.timeout_s + call.wait_s)
        return {"params": dict(call.params), "headers": dict(call.headers), "content": call.content, "timeout": timeout}

    def answer(self, response: httpx.Response) -> Answer:
        """A response as plain data; warns once if the service is of another version.

        Raises:
            Unreachable: It is a page of some other server.
        """
        theirs = response.headers.get(VERSION_HEADER)
        is_page = response.headers.get("content-type", "").startswith("text/html")
        if theirs is None and is_page and (response.status_code < 400 or response.status_code == 404):
            raise Unreachable(self.url, "what answers there is no pathpatch service")
        if theirs is not None and theirs.split(".")[:2] != __version__.split(".")[:2]:
            warnings.warn(
                f"the service at {self.url} is pathpatch {theirs}, this client {__version__}: "
                f"install the same version (pip install 'pathpatch=={theirs}')",
                VersionMismatch,
                stacklevel=6,
            )
        self.is_known = self.is_known or theirs is not None
        return Answer(response.status_code, response.headers, response.content, self.is_known)

    def lost(self, error: httpx.TransportError) -> Lost:
        """A request that got no answer. A port of this machine that refuses will hardly answer in a few seconds."""
        never_left = isinstance(error, _NEVER_LEFT)
        is_refused_here = never_left and self.is_loopback
        why = str(error) or type(error).__name__
        retries = FEW_RETRIES if is_refused_here else MOST_RETRIES
        return Lost(self.url, why, never_left, retries, self.is_known)
