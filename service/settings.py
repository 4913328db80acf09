"""All that the service reads from the environment."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from blob_store.place import LEAST_BYTES, RESERVE_BYTES, BlobStore
from checkpoints.registry import MODEL_DIR
from job_store import address
from service.http.origins import Names, is_origin, names_of
from service.http.prefix import is_prefix

DAY_S = 86400.0
PREFIX = "PATHPATCH_"
LEAST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
"""Of a webhook secret, as the standard says."""

Authentication = Literal["auto", "on", "off"]
LogFormat = Literal["json", "text"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LAST_PORT = 65_535


class BadSetting(ValueError):
    """An environment variable that makes no sense; says which, what it holds and what it may hold."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(f"{variable} is {value!r}: it must be {allowed}")


@dataclass(frozen=True)
class Settings:
    """Where the service listens, what it connects to, and its limits; each field is ``PATHPATCH_<FIELD>``."""

    host: str = "127.0.0.1"
    port: int = 8000
    redis_url: str = "redis://127.0.0.1:6379/0"
    """``REDIS_URL``."""
    models: str = ""
    """Local checkpoints: ``name=folder[,name=folder]``."""
    model_dir: str = MODEL_DIR
    """Where ``pathpatch models fetch`` puts models."""
    auth: Authentication = "auto"
    """``auto``: API keys are needed beyond loopback, and wherever there is an admin key."""
    allowed_hosts: str = ""
    """More names by which a service without keys may be called: ``name[,name]``."""
    root_path: str = ""
    """Path of a proxy below which the service is found, such as ``/pathpatch``; empty: ``X-Forwarded-Prefix`` says."""
    cors_origins: str = ""
    """Other sites whose pages may call the service: ``https://host[:port][,...]``."""
    admin_key: str = ""
    """A key with all scopes, which the operator chooses, to start with; at least 32 characters."""
    body_timeout_s: float = 30.0
    """A client that takes longer to send its body is cut off."""
    head_timeout_s: float = 10.0
    """A client that takes longer to send its request line and headers is cut off."""
    stall_timeout_s: float = 60.0
    """A client that takes nothing of its answer for so long is cut off."""
    max_wait_s: float = 60.0
    max_event_streams: int = 2000
    """Clients that follow events at once, and as many that wait for a job."""
    max_event_streams_per_key: int = 500
    """Of them, those of one key, where keys are required."""
    max_key_body_bytes: int = 32 * 2**20
    """Bodies of one key's requests that are in memory at once; at least ``PATHPATCH_MAX_BODY_BYTES``."""
    max_all_body_bytes: int = 96 * 2**20
    """The same, of all keys."""
    submits_per_minute: int = 0
    """Per key that has no limit of its own; 0 means no limit."""
    max_queued_jobs: int = 20_000
    """Per key that has no limit of its own."""
    max_running_shards: int = 0
    """Per key that has no limit of its own; 0 means no limit."""
    compute_seconds_per_day: float = 0.0
    """Per key that has no limit of its own; 0 means no limit."""
    max_store_bytes: int = 2**30
    """Of jobs and results that are kept, per key that has no limit of its own, where keys are required; 0: no limit."""
    idempotency_s: float = DAY_S
    retention_s: float = 7 * DAY_S
    retention_bytes: int = 0
    """What all results together may take: above it the oldest are erased; 0 means no limit."""
    blobs: str = ""
    """Where large contents of jobs are, ``file:///folder`` or ``s3://bucket[/prefix]``; empty: in the store itself."""
    blobs_least_bytes: int = LEAST_BYTES
    """Contents of this size or more go there."""
    blobs_reserve_bytes: int = RESERVE_BYTES
    """Room that must be free on a folder's disk for new jobs to be taken."""
    webhook_secret: str = ""
    """Standard Webhooks secret (``whsec_...``); webhooks are off without it."""
    webhook_allow_http: bool = False
    webhook_allow_private: bool = False
    """Whether receivers at private and loopback addresses are allowed: for a lab's own network."""
    webhook_proxy: str = ""
    """``http://host:port`` of a proxy that all webhooks go through; it then decides which addresses may be called."""
    webhook_timeout_s: float = 5.0
    webhook_first_retry_s: float = 5.0
    reaper_interval_s: float = 2.0
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "json"
    open_metrics: bool = False
    """Whether `/metrics` can be read without a key."""
    tracing: bool = False
    """OpenTelemetry; needs the extra ``pathpatch[tracing]`` and the usual ``OTEL_*`` variables."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The variables that other parts of the service describe themselves, such as the limits on specs."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def keys_required(self) -> bool:
        """Whether requests need an API key."""
        if self.auth == "auto":
            return bool(self.admin_key) or not self.is_loopback
        return self.auth == "on"

    @property
    def is_open_to_all(self) -> bool:
        """Whether whoever reaches this machine may do everything."""
        return not self.is_loopback and not self.keys_required

    @property
    def answers_local_names_only(self) -> bool:
        """Whether requests must name this machine: without keys, a web page of another site must not get through."""
        return self.is_loopback and not self.keys_required

    @property
    def names(self) -> Names | None:
        """Names that requests must use; without keys, a web page of another site must not get through."""
        return None if self.keys_required else names_of(self.host, self.is_loopback, self.allowed_hosts)

    @property
    def origins(self) -> tuple[str, ...]:
        """Sites whose pages may call the service, besides its own."""
        return tuple(origin.strip().lower() for origin in self.cors_origins.split(",") if origin.strip())

    def blob_store(self) -> BlobStore | None:
        """The blob store, if there is one.

        Raises:
            BadSetting: Its URL makes no sense.
        """
        try:
            return BlobStore(self.blobs, self.blobs_least_bytes, self.blobs_reserve_bytes) if self.blobs else None
        except ValueError as exc:
            raise BadSetting(f"{PREFIX}BLOBS", self.blobs, f"file:///folder or s3://bucket[/prefix] ({exc})") from exc

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Settings from environment variables.

        Raises:
            BadSetting: A variable makes no sense.
        """
        given: dict[str, Any] = {}
        for setting in fields(cls):
            variable = "REDIS_URL" if setting.name == "redis_url" else PREFIX + setting.name.upper()
            if setting.name != "environment" and environment.get(variable, "").strip():
                given[setting.name] = _parse(variable, environment[variable].strip(), setting.type)
        settings = cls(**given, environment=dict(environment))
        _check_address(settings.redis_url)
        if settings.admin_key and len(settings.admin_key) < 32:
            raise BadSetting(
                f"{PREFIX}ADMIN_KEY", "***", "at least 32 characters, such as `openssl rand -hex 32` prints"
            )
        if settings.port > LAST_PORT:
            raise BadSetting(f"{PREFIX}PORT", str(settings.port), f"at most {LAST_PORT}")
        if not settings.reaper_interval_s:
            raise BadSetting(f"{PREFIX}REAPER_INTERVAL_S", "0", "more than 0")
        _check_webhook_secret(settings.webhook_secret)
        _check_proxy(settings.webhook_proxy)
        _check_site(settings)
        return settings


def _check_site(settings: Settings) -> None:
    if settings.root_path and not is_prefix(settings.root_path):
        raise BadSetting(
            f"{PREFIX}ROOT_PATH", settings.root_path, "a path such as /pathpatch, with no slash at its end"
        )
    for origin in settings.origins:
        if not is_origin(origin):
            raise BadSetting(f"{PREFIX}CORS_ORIGINS", origin, "https://host[:port], several with commas between them")


def _check_address(url: str) -> None:
    try:
        address.check(url)
    except ValueError as exc:
        raise BadSetting("REDIS_URL", url.rpartition("@")[2], f"another address ({exc})") from exc


def _check_proxy(url: str) -> None:
    parts = urlsplit(url)
    if url and not (parts.scheme == "http" and parts.hostname and parts.path in ("", "/")):
        raise BadSetting(f"{PREFIX}WEBHOOK_PROXY", url, "http://host:port")


def _check_webhook_secret(secret: str) -> None:
    digits = secret.removeprefix("whsec_").rstrip("=")
    try:
        size = len(b64decode(digits + "=" * (-len(digits) % 4), validate=True))
    except ValueError:
        size = 0
    if secret and not (secret.startswith("whsec_") and LEAST_SECRET_BYTES <= size <= MOST_SECRET_BYTES):
        allowed = f"whsec_ and {LEAST_SECRET_BYTES} to {MOST_SECRET_BYTES} bytes in base64"
        raise BadSetting(f"{PREFIX}WEBHOOK_SECRET", "***", allowed)


def _parse(variable: str, value: str, kind: Any) -> Any:
    if kind is bool:
        return _boolean(variable, value)
    if kind in (int, float):
        return _number(variable, value, kind)
    choices = get_args(kind)
    if choices and value not in choices:
        raise BadSetting(variable, value, f"one of {', '.join(choices)}")
    return value


def _boolean(variable: str, value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in words:
        raise BadSetting(variable, value, "true or false")
    return words[value.lower()]


def _number(variable: str, value: str, kind: Callable[[str], float]) -> float:
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise BadSetting(variable, value, "a number, 0 or more")
    return number
