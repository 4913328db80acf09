"""API keys: digests of their secrets, scopes, limits and use."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from job_store.ids import new_key_id
from job_store.records import Limits, pairs, whole
from job_store.script import Step


@dataclass(frozen=True)
class ApiKey:
    """One key, without its secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    limits: Limits
    created_ms: int
    sha256: str
    expires_ms: int | None = None
    last_used_ms: int | None = None
    revoked: bool = False

    def is_valid(self, now_ms: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return not self.revoked and (self.expires_ms is None or now_ms < self.expires_ms)


@dataclass(frozen=True)
class RateState:
    """What remains of a rate limit."""

    limit: int
    remaining: int
    reset_s: float
    """Seconds until the full amount is available again."""


@dataclass(frozen=True)
class Usage:
    """What an owner has used of its limits."""

    submits: RateState | None
    compute_s_today: float
    day_left_s: float
    """Seconds until midnight UTC."""
    queued_jobs: int
    running_shards: int
    store_bytes: int


def new_secret() -> str:
    """A secret of 256 random bits."""
    return f"pp_{secrets.token_urlsafe(32)}"


def sha256_of(secret: str) -> str:
    """The stored digest of a secret. A secret has 256 random bits, so a plain SHA-256 cannot be reversed by search."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _read_key(flat: list[bytes]) -> ApiKey:
    fields = pairs(flat)
    description = json.loads(fields["description"])
    return ApiKey(
        id=fields["id"].decode(),
        name=fields["name"].decode(),
        scopes=tuple(description["scopes"]),
        limits=Limits(**description["limits"]),
        created_ms=int(fields["created"]),
        sha256=fields["sha256"].decode(),
        expires_ms=whole(fields.get("expires")),
        last_used_ms=whole(fields.get("last_used")),
        revoked="revoked" in fields,
    )


def create_key(
    name: str, sha256: str, *, scopes: Sequence[str], limits: Limits, expires_ms: int | None = None
) -> Step[ApiKey]:
    """Register a key by the digest of its secret."""
    description = json.dumps({"scopes": list(scopes), "limits": limits.to_dict()})
    arguments = (new_key_id(), sha256, name, description, "" if expires_ms is None else expires_ms)
    return Step("create_key", arguments, _read_key)


def find_key(sha256: str) -> Step[ApiKey | None]:
    """The key whose secret has this digest, valid or not; records the use."""

    def read(flat: list[bytes] | None) -> ApiKey | None:
        key = _read_key(flat) if flat else None
        return key if key and hmac.compare_digest(key.sha256, sha256) else None

    return Step("find_key", (sha256,), read)


def list_keys() -> Step[tuple[ApiKey, ...]]:
    """Every key, including revoked ones, oldest first."""
    return Step("list_keys", (), lambda reply: tuple(_read_key(flat) for flat in reply))


def revoke_key(id_or_name: str) -> Step[tuple[str, ...]]:
    """Revoke the key of this id, or the one valid key of this name; if several match, none. Returns matching ids."""
    return Step("revoke_key", (id_or_name,), lambda ids: tuple(key_id.decode() for key_id in ids))


def count_keys() -> Step[int]:
    """Number of keys that are valid now."""
    return Step("count_keys", (), int)


def usage(owner: str, limits: Limits) -> Step[Usage]:
    """What an owner has used of its limits."""
    limit = limits.submits_per_minute

    def read(reply: list[Any]) -> Usage:
        tokens = float(reply[0])
        queued_jobs, running_shards, store_bytes = map(int, reply[3:6])
        submits = None if limit is None else RateState(limit, int(tokens), (limit - tokens) * 60 / limit)
        return Usage(submits, float(reply[1]), int(reply[2]) / 1000, queued_jobs, running_shards, store_bytes)

    return Step("usage", (owner, limit or 0), read)
