"""API keys and what they may use, dead webhook deliveries, and the version of the service."""

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.frozen import Flag, Frozen
from api_schemas.jobs import JobId, OptionalTimestamp, Timestamp

KeyScope = Literal["read", "submit", "admin"]
KeyName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.@ -]+$", examples=["ana-laptop"])]


class KeyLimits(Frozen):
    """What a key may use; null takes the server's default."""

    queued_jobs: Annotated[int | None, Field(ge=0, examples=[1000])] = None
    """Jobs that wait for a worker."""
    running_shards: Annotated[int | None, Field(ge=1, examples=[4])] = None
    """Shards that run at once."""
    submits_per_minute: Annotated[int | None, Field(ge=1, examples=[60])] = None
    """Jobs submitted per minute."""
    compute_s_per_day: Annotated[float | None, Field(gt=0, examples=[3600.0])] = None
    """Seconds of computing per day (UTC)."""


class NewKey(Frozen):
    """A key to create."""

    name: KeyName
    """Who or what it is for."""
    scopes: Annotated[list[KeyScope], Field(min_length=1, examples=[["read", "submit"]])] = ["read", "submit"]
    """`read`: look; `submit`: submit, cancel, erase; `admin`: everything, of every key."""
    limits: KeyLimits = KeyLimits()
    """What it may use."""
    expires_after_s: Annotated[float | None, Field(gt=0, le=3_155_760_000, examples=[7776000.0])] = None
    """Seconds until it stops working; null: never."""


class KeyInfo(Frozen):
    """One API key, without its secret."""

    id: Annotated[str, Field(examples=["key_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """Identifier."""
    object: Literal["key"] = "key"
    """Always `key`."""
    name: Annotated[str, Field(examples=["ana-laptop"])]
    """Who or what it is for."""
    scopes: Annotated[list[KeyScope], Field(examples=[["read", "submit"]])]
    """What it may do."""
    limits: KeyLimits
    """What it may use."""
    created_at: Timestamp
    """When it was made."""
    expires_at: OptionalTimestamp = None
    """When it stops working; null: never."""
    last_used_at: OptionalTimestamp = None
    """When it was last used, to the minute."""
    revoked: Flag
    """Whether it was revoked."""


class CreatedKey(KeyInfo):
    """A new API key: the only answer that shows the secret."""

    secret: Annotated[str, Field(examples=["pp_Zm9v..."])]
    """Send it as `Authorization: Bearer pp_...`; it cannot be shown again."""


class KeyUse(Frozen):
    """What a key has used."""

    queued_jobs: Annotated[int, Field(ge=0, examples=[3])]
    """Jobs that wait for a worker now."""
    running_shards: Annotated[int, Field(ge=0, examples=[2])]
    """Shards that run now."""
    submits_left: Annotated[int | None, Field(examples=[59])] = None
    """Submits left now; null without a limit."""
    compute_s_today: Annotated[float, Field(examples=[12.5])]
    """Seconds of computing since midnight UTC."""


class Me(Frozen):
    """Who the caller is to the service."""

    object: Literal["me"] = "me"
    """Always `me`."""
    id: Annotated[str, Field(examples=["key_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """The key's identifier; `local` where the service needs no keys."""
    name: Annotated[str, Field(examples=["ana-laptop"])]
    """The key's name."""
    scopes: Annotated[list[KeyScope], Field(examples=[["read", "submit"]])]
    """What it may do."""
    expires_at: OptionalTimestamp = None
    """When it stops working; null: never."""
    limits: KeyLimits
    """What it may use, with the server's defaults filled in; null is unlimited."""
    use: KeyUse
    """What it has used."""


class DeadWebhook(Frozen):
    """A webhook delivery that was given up."""

    id: Annotated[str, Field(examples=["msg_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """The message's identifier, the same over all attempts."""
    object: Literal["dead_webhook"] = "dead_webhook"
    """Always `dead_webhook`."""
    job_id: JobId
    """The job whose end it announced."""
    url: Annotated[str, Field(examples=["https://lab.example.org/hooks/pathpatch"])]
    """Where it should have gone."""
    attempts: Annotated[int, Field(examples=[8])]
    """How often it was tried."""
    error: Annotated[str, Field(examples=["no answer within 5 s"])]
    """Why the last attempt failed."""
    died_at: Timestamp
    """When it was given up."""


class Version(Frozen):
    """What is running."""

    version: Annotated[str, Field(examples=["0.1.0"])]
    """Version of pathpatch."""
    api: Annotated[str, Field(examples=["v1"])] = "v1"
    """Version of the API, as in the paths."""
    python: Annotated[str, Field(examples=["3.11.7"])]
    """Version of Python."""


class Liveness(Frozen):
    """That the process answers."""

    alive: Flag
    """Always true."""
