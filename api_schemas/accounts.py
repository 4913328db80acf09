"""API keys and their limits, dead webhook deliveries, and the version of the service."""

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.frozen import Flag, Frozen
from api_schemas.jobs import JobId, OptionalTimestamp, Timestamp

KeyScope = Literal["read", "submit", "high", "admin"]
KeyName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.@ -]+$", examples=["ana-laptop"])]


class KeyLimits(Frozen):
    """Limits of an API key; null means the server's default."""

    queued_jobs: Annotated[int | None, Field(ge=0, examples=[1000])] = None
    """Jobs that may wait for a worker."""
    running_shards: Annotated[int | None, Field(ge=1, examples=[4])] = None
    """Shards that may run at once."""
    submits_per_minute: Annotated[int | None, Field(ge=1, examples=[60])] = None
    """Jobs submitted per minute."""
    compute_s_per_day: Annotated[float | None, Field(gt=0, examples=[3600.0])] = None
    """Seconds of compute per day (UTC)."""
    store_bytes: Annotated[int | None, Field(ge=1, examples=[1073741824])] = None
    """Bytes of stored jobs and results."""


class NewKey(Frozen):
    """An API key to create."""

    name: KeyName
    """Who or what the key is for."""
    scopes: Annotated[list[KeyScope], Field(min_length=1, examples=[["read", "submit"]])] = ["read", "submit"]
    """`read`: read jobs; `submit`: submit, cancel, erase; `high`: submit with priority high; `admin`: everything."""
    limits: KeyLimits = KeyLimits()
    """Limits of the key."""
    expires_after_s: Annotated[float | None, Field(gt=0, le=3_155_760_000, examples=[7776000.0])] = None
    """Seconds until the key expires; null: never."""


class KeyInfo(Frozen):
    """One API key, without its secret."""

    id: Annotated[str, Field(examples=["key_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """Identifier."""
    object: Literal["key"] = "key"
    """Always `key`."""
    name: Annotated[str, Field(examples=["ana-laptop"])]
    """Who or what the key is for."""
    scopes: Annotated[list[KeyScope], Field(examples=[["read", "submit"]])]
    """What the key may do."""
    limits: KeyLimits
    """Limits of the key."""
    created_at: Timestamp
    """When the key was created."""
    expires_at: OptionalTimestamp = None
    """When the key expires; null: never."""
    last_used_at: OptionalTimestamp = None
    """When the key was last used, to the minute."""
    revoked: Flag
    """Whether the key was revoked."""


class CreatedKey(KeyInfo):
    """A new API key. Only this answer shows its secret."""

    secret: Annotated[str, Field(examples=["pp_Zm9v..."])]
    """The secret, to send as `Authorization: Bearer pp_...`; it cannot be shown again."""


class KeyUse(Frozen):
    """What an API key has used."""

    queued_jobs: Annotated[int, Field(ge=0, examples=[3])]
    """Jobs that wait for a worker now."""
    running_shards: Annotated[int, Field(ge=0, examples=[2])]
    """Shards that run now."""
    submits_left: Annotated[int | None, Field(examples=[59])] = None
    """Submits that remain now; null without a limit."""
    compute_s_today: Annotated[float, Field(examples=[12.5])]
    """Seconds of compute since midnight UTC."""
    store_bytes: Annotated[int, Field(ge=0, examples=[1048576])] = 0
    """Bytes of stored jobs and results; the result of an unfinished job counts by its estimate."""


class Me(Frozen):
    """The caller's API key."""

    object: Literal["me"] = "me"
    """Always `me`."""
    id: Annotated[str, Field(examples=["key_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """The key's identifier; `local` if the service requires no keys."""
    name: Annotated[str, Field(examples=["ana-laptop"])]
    """The key's name."""
    scopes: Annotated[list[KeyScope], Field(examples=[["read", "submit"]])]
    """What the key may do."""
    expires_at: OptionalTimestamp = None
    """When the key expires; null: never."""
    limits: KeyLimits
    """Limits of the key, with the server's defaults filled in; null is unlimited."""
    use: KeyUse
    """What the key has used."""


class DeadWebhook(Frozen):
    """A webhook delivery that was given up."""

    id: Annotated[str, Field(examples=["msg_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """The message's identifier, the same for all attempts."""
    object: Literal["dead_webhook"] = "dead_webhook"
    """Always `dead_webhook`."""
    job_id: JobId
    """The job whose end the message announces."""
    url: Annotated[str, Field(examples=["https://lab.example.org/hooks/pathpatch"])]
    """Address of the receiver."""
    attempts: Annotated[int, Field(examples=[8])]
    """Number of attempts."""
    error: Annotated[str, Field(examples=["no answer within 5 s"])]
    """Why the last attempt failed."""
    died_at: Timestamp
    """When the delivery was given up."""


class Version(Frozen):
    """Versions of the running service."""

    version: Annotated[str, Field(examples=["0.1.0"])]
    """Version of pathpatch."""
    api: Annotated[str, Field(examples=["v1"])] = "v1"
    """Version of the API, as in its paths."""
    python: Annotated[str, Field(examples=["3.11.7"])]
    """Version of Python."""


class Liveness(Frozen):
    """The process is alive."""

    alive: Flag
    """Always true."""
