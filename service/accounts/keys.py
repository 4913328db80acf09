"""Who calls: API keys, their scopes, and what each caller may see."""

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from api_schemas.errors import Forbidden, StoreUnavailable, Unauthenticated
from job_store import keys as stored_keys
from job_store.keys import ApiKey
from job_store.records import Limits, when
from job_store.store import AsyncJobStore
from runtime import logs
from service.settings import Settings

Scope = Literal["read", "submit", "high", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "submit", "admin")
REMEMBERED_S = 2.0
"""A revoked key works for at most this long."""
FOLLOWED_S = 1.0
"""How often a key is looked up while somebody waits with it."""
MOST_REMEMBERED = 10_000
LOCAL = "local"
SEND_A_KEY = "send an API key: `Authorization: Bearer pp_...`"


@dataclass(frozen=True)
class Caller:
    """Whoever sent the request. ``admin`` implies the other scopes, and sees the jobs of all keys."""

    owner: str
    name: str
    scopes: tuple[str, ...]
    limits: Limits
    expires_ms: int | None = None
    sha256: str = ""
    """Of the secret; empty for those who cannot be revoked."""

    @property
    def sees(self) -> str | None:
        """The owner whose jobs are visible; None for all."""
        return None if "admin" in self.scopes else self.owner

    def may(self, scope: Scope) -> bool:
        """Whether the key has this scope; `admin` includes all."""
        return scope in self.scopes or "admin" in self.scopes


class Keyring:
    """Tells callers apart by their secrets, asking the store at most every few seconds per key."""

    def __init__(self, settings: Settings, store: AsyncJobStore) -> None:
        self._settings = settings
        self._store = store
        self._known: dict[str, tuple[float, ApiKey | None]] = {}
        self._followed: Counter[str] = Counter()
        self._admin_sha256 = stored_keys.sha256_of(settings.admin_key) if settings.admin_key else ""
        limits = self._with_defaults(Limits())
        self._admin = Caller("admin", "admin", SCOPES, limits)
        self._anyone = None if settings.keys_required else Caller(LOCAL, LOCAL, SCOPES, limits)
        """Whoever calls where no keys are required."""

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Who has the secret in these headers of a request.

        Raises:
            Unauthenticated: There is none, or it is unknown, revoked or out of date.
        """
        if self._anyone is not None:
            return self._anyone
        digest = stored_keys.sha256_of(_secret_in(headers))
        if self._admin_sha256 and hmac.compare_digest(digest, self._admin_sha256):
            return self._admin
        return await self._caller_of(digest)

    async def _caller_of(self, digest: str) -> Caller:
        key = await self._find(digest)
        if key is None or not hmac.compare_digest(key.sha256, digest):
            raise Unauthenticated("this API key is not known here")
        if not key.is_valid(round(time.time() * 1000)):
            ended = "was revoked" if key.revoked else f"expired at {when(key.expires_ms or 0):%Y-%m-%dT%H:%M:%SZ}"
            raise Unauthenticated(f"the API key {key.name!r} {ended}")
        return Caller(key.id, key.name, key.scopes, self._with_defaults(key.limits), key.expires_ms, digest)

    async def _find(self, digest: str) -> ApiKey | None:
        now = time.monotonic()
        remembered = self._known.get(digest)
        if remembered is not None and now - remembered[0] < REMEMBERED_S:
            return remembered[1]
        key = await self._store.run(stored_keys.find_key(digest))
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[digest] = (now, key)
        return key

    async def confirm(self, caller: Caller) -> None:
        """See whether the caller's key still opens anything.

        Raises:
            Unauthenticated: It does not.
        """
        if caller.sha256:
            await self._caller_of(caller.sha256)

    @contextmanager
    def following(self, caller: Caller) -> Iterator[None]:
        """In the block the caller waits for something, and is woken when its key is revoked or out of date."""
        self._followed[caller.sha256] += 1
        try:
            yield
        finally:
            self._followed[caller.sha256] -= 1
            if not self._followed[caller.sha256]:
                del self._followed[caller.sha256]

    async def watch_forever(self, wake: Callable[[], None]) -> None:
        """Look every second whether the keys of those who wait are still valid; wake all of them when one is not."""
        while True:
            await asyncio.sleep(FOLLOWED_S)
            with suppress(StoreUnavailable):
                ended = [digest for digest in list(self._followed) if digest and not await self._is_valid(digest)]
                if ended:
                    wake()

    async def _is_valid(self, digest: str) -> bool:
        self._known.pop(digest, None)
        try:
            await self._caller_of(digest)
        except Unauthenticated:
            return False
        return True

    def forget(self) -> None:
        """Look every key up again, because one has changed."""
        self._known.clear()

    def _with_defaults(self, limits: Limits) -> Limits:
        settings = self._settings

        def either(own: float | None, default: float) -> float | None:
            return own if own is not None else (default or None)

        def whole(own: int | None, default: int) -> int | None:
            found = either(own, default)
            return None if found is None else int(found)

        return Limits(
            queued_jobs=whole(limits.queued_jobs, settings.max_queued_jobs),
            running_shards=whole(limits.running_shards, settings.max_running_shards),
            submits_per_minute=whole(limits.submits_per_minute, settings.submits_per_minute),
            compute_s_per_day=either(limits.compute_s_per_day, settings.compute_seconds_per_day),
            store_bytes=whole(limits.store_bytes, settings.max_store_bytes if settings.keys_required else 0),
        )


def _secret_in(headers: Mapping[str, str]) -> str:
    scheme, _, secret = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    if scheme and scheme.lower() != "bearer":
        raise Unauthenticated(f"Authorization does not begin with the word Bearer: {SEND_A_KEY}")
    if "x-api-key" in headers:
        raise Unauthenticated(f"the header X-API-Key is not read: {SEND_A_KEY}")
    raise Unauthenticated(SEND_A_KEY)


async def identified(request: Request) -> Caller:
    """A dependency: whoever sent the request, before anything else of it is looked at."""
    found: Caller = await request.app.state.parts.keyring.caller(request.headers)
    logs.key_id.set(found.owner)
    request.state.key_id = found.owner
    request.state.caller = found
    return found


def needs(*scopes: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """A dependency: the caller, who must have one of the scopes."""

    async def caller(found: Annotated[Caller, Depends(identified)]) -> Caller:
        if not any(map(found.may, scopes)):
            raise Forbidden(lacks(scopes, found.name, found.scopes))
        return found

    caller.scopes = scopes  # type: ignore[attr-defined]
    return caller


def lacks(needed: Sequence[str], name: str, scopes: Sequence[str]) -> str:
    """What a key is told that has none of the scopes needed."""
    return f"this needs the scope {' or '.join(map(repr, needed))}: the key {name!r} has {', '.join(scopes)}"


def require_priority(caller: Caller, priorities: Iterable[str]) -> None:
    """Whoever may run first could keep all others waiting, so that it is a right of a key.

    Raises:
        Forbidden: A spec has the priority `high`, and the key has not the scope.
    """
    if not caller.may("high") and "high" in priorities:
        raise Forbidden(f'"priority": "high" {lacks(("high",), caller.name, caller.scopes)}'.replace(" this", "", 1))


def scopes_of(dependant: Dependant) -> Sequence[Scope]:
    """The scopes, one of which a route needs; none where it asks for no key."""
    own: Sequence[Scope] = getattr(dependant.call, "scopes", ())
    return own or next(filter(None, map(scopes_of, dependant.dependencies)), ())


Reader = Annotated[Caller, Depends(needs("read"))]
ReaderOrSubmitter = Annotated[Caller, Depends(needs("read", "submit"))]
Submitter = Annotated[Caller, Depends(needs("submit"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
