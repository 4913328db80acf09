"""All that the worker reads from the environment."""

import logging
import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from api_schemas.models import ModelOrigin
from blob_store.place import ALLOWED, BlobStore
from checkpoints.registry import MODEL_DIR, read_registry
from job_store import address

PREFIX = "PATHPATCH_"
GIB = 1 << 30


class BadSetting(ValueError):
    """An environment variable that makes no sense; says which, what it holds and what it may hold."""

    def __init__(self, variable: str, value: str, allowed: str) -> None:
        super().__init__(f"{variable} is {value!r}: it must be {allowed}")


@dataclass(frozen=True)
class WorkerSettings:
    """What one worker serves, on what, and how patiently."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """``REDIS_URL``."""
    name: str = "worker"
    """``PATHPATCH_WORKER_NAME``: unique among the workers of a machine."""
    host: str = "localhost"
    registry: Mapping[str, ModelOrigin] | None = None
    """``PATHPATCH_MODELS`` beside the models known by name, and those in ``PATHPATCH_MODEL_DIR``."""
    serves: tuple[str, ...] = ()
    """``PATHPATCH_SERVE``: models to take work for, by default all of the registry."""
    preload: tuple[str, ...] = ()
    """``PATHPATCH_PRELOAD``: models to load at the start rather than at their first job."""
    devices: tuple[str, ...] = ("auto",)
    """``PATHPATCH_DEVICE``: ``cpu``, ``cuda:1`` or several as ``cuda:0,cuda:1``, one child each. ``cuda`` is every GPU,
    and ``auto`` too, or the CPU where there is none."""
    threads: int = 0
    """``PATHPATCH_THREADS``: CPU threads of each child; 0 takes what the container or the machine has."""
    shared_by: int = 1
    """``PATHPATCH_SHARED_BY``: how many workers share the machine's processors and memory, where these are not set."""
    weights_dir: Path = Path("weights")
    """``PATHPATCH_DATA_DIR``/weights: where processed weights are kept."""
    weights_bytes: int = 64 * GIB
    """``PATHPATCH_WEIGHTS_BYTES``: processed weights kept on disk; those used least recently are removed above it."""
    memory_bytes: int = 0
    """``PATHPATCH_MEMORY_BYTES``: working memory of one shard, and of prompts kept for the next job, of each child; 0
    takes a part of what the device has."""
    model_bytes: int = 8 * GIB
    """``PATHPATCH_MODEL_BYTES``: weights that each child keeps in memory; the model in use stays whatever its size."""
    weights_dtype: str = "float32"
    """``PATHPATCH_WEIGHTS_DTYPE``: ``float32``, or ``bfloat16`` for models that would not fit otherwise."""
    lease_s: float = 10.0
    """``PATHPATCH_LEASE_S``: a shard whose worker is silent for this long goes to another."""
    heartbeat_s: float = 3.0
    """``PATHPATCH_HEARTBEAT_S``: between two signs of life; shorter than the lease."""
    shard_limit_s: float = 600.0
    """``PATHPATCH_SHARD_LIMIT_S``: a shard that takes longer fails."""
    kill_after_s: float = 30.0
    """``PATHPATCH_KILL_AFTER_S``: a shard that has not stopped this long after its limit is killed with its process."""
    grace_s: float = 20.0
    """``PATHPATCH_GRACE_S``: after SIGTERM a shard may finish within this time, then it is handed back."""
    store_patience_s: float = 60.0
    """``PATHPATCH_STORE_PATIENCE_S``: how long a finished shard waits for a store that does not take it."""
    blobs: BlobStore | None = None
    """``PATHPATCH_BLOBS``: where large contents of jobs are; the store itself where it is not set."""
    health_file: Path | None = None
    """``PATHPATCH_HEALTH_FILE``: touched at every heartbeat, for probes."""
    tracing: bool = False
    """``PATHPATCH_TRACING``: OpenTelemetry, as the ``OTEL_*`` variables say."""
    log_level: str = "INFO"
    """``PATHPATCH_LOG_LEVEL``."""
    log_format: str = "json"
    """``PATHPATCH_LOG_FORMAT``: ``json``, or ``text`` for people."""
    simulated_flops: float = 0.0
    """``PATHPATCH_SIMULATED_DEVICE_FLOPS``, for tests: each shard sleeps as a device of this speed would take."""
    shard_delay_s: float = 0.0
    """``PATHPATCH_SHARD_DELAY_S``, for tests: each shard sleeps this long before it computes."""

    @property
    def models(self) -> Mapping[str, ModelOrigin]:
        """The registry."""
        return self.registry or {}

    @property
    def full_name(self) -> str:
        """Unique among all workers of a store."""
        return f"{self.name}@{self.host}"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "WorkerSettings":
        """Settings from environment variables.

        Raises:
            BadSetting: A variable makes no sense.
        """
        registry = _registry(environment)
        heartbeat_s = _number(environment, "HEARTBEAT_S", cls.heartbeat_s)
        data_dir = Path(environment.get("PATHPATCH_DATA_DIR") or "~/.cache/pathpatch").expanduser()
        health_file = environment.get("PATHPATCH_HEALTH_FILE")
        return cls(
            redis_url=_address(environment.get("REDIS_URL") or cls.redis_url),
            name=environment.get("PATHPATCH_WORKER_NAME") or f"worker-{os.getpid()}",
            host=socket.gethostname(),
            registry=registry,
            serves=_models(environment, "SERVE", registry) or tuple(registry),
            preload=_models(environment, "PRELOAD", registry),
            devices=_words(environment, "DEVICE") or cls.devices,
            threads=int(_number(environment, "THREADS", cls.threads)),
            shared_by=max(1, int(_number(environment, "SHARED_BY", cls.shared_by))),
            weights_dir=data_dir / "weights",
            weights_bytes=int(_number(environment, "WEIGHTS_BYTES", cls.weights_bytes)),
            memory_bytes=int(_number(environment, "MEMORY_BYTES", cls.memory_bytes)),
            model_bytes=int(_number(environment, "MODEL_BYTES", cls.model_bytes)),
            weights_dtype=_choice(environment, "WEIGHTS_DTYPE", cls.weights_dtype, ("float32", "bfloat16")),
            lease_s=_lease(environment, cls.lease_s, heartbeat_s),
            heartbeat_s=heartbeat_s,
            shard_limit_s=_number(environment, "SHARD_LIMIT_S", cls.shard_limit_s),
            kill_after_s=_number(environment, "KILL_AFTER_S", cls.kill_after_s),
            grace_s=_number(environment, "GRACE_S", cls.grace_s),
            store_patience_s=_number(environment, "STORE_PATIENCE_S", cls.store_patience_s),
            blobs=_blobs(environment),
            health_file=Path(health_file) if health_file else None,
            tracing=_claim(environment, "TRACING"),
            log_level=_choice(environment, "LOG_LEVEL", cls.log_level, logging.getLevelNamesMapping()),
            log_format=_choice(environment, "LOG_FORMAT", cls.log_format, ("json", "text")),
            simulated_flops=_number(environment, "SIMULATED_DEVICE_FLOPS", cls.simulated_flops),
            shard_delay_s=_number(environment, "SHARD_DELAY_S", cls.shard_delay_s),
        )


def _address(url: str) -> str:
    try:
        address.check(url)
    except ValueError as exc:
        raise BadSetting("REDIS_URL", url.rpartition("@")[2], f"another address ({exc})") from exc
    return url


def _words(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in environment.get(PREFIX + name, "").split(",") if word.strip())


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    value = environment.get(PREFIX + name, "").strip()
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise BadSetting(PREFIX + name, value, "a number, 0 or more")
    return number


def _lease(environment: Mapping[str, str], default: float, heartbeat_s: float) -> float:
    lease_s = _number(environment, "LEASE_S", default)
    if not 0 < heartbeat_s < lease_s:
        allowed = "more than PATHPATCH_HEARTBEAT_S, and that more than 0"
        raise BadSetting("PATHPATCH_LEASE_S", f"{lease_s:g}, with PATHPATCH_HEARTBEAT_S {heartbeat_s:g}", allowed)
    return lease_s


def _choice(environment: Mapping[str, str], name: str, default: str, known: Collection[str]) -> str:
    value = environment.get(PREFIX + name) or default
    if value not in known:
        raise BadSetting(PREFIX + name, value, f"one of {', '.join(known)}")
    return value


def _claim(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(PREFIX + name, "").strip().lower()
    if value not in ("", "0", "1", "true", "false", "yes", "no", "on", "off"):
        raise BadSetting(PREFIX + name, value, "true or false")
    return value in ("1", "true", "yes", "on")


def _blobs(environment: Mapping[str, str]) -> BlobStore | None:
    try:
        return BlobStore.read(environment)
    except ValueError as exc:
        raise BadSetting("PATHPATCH_BLOBS", environment["PATHPATCH_BLOBS"], f"{ALLOWED} ({exc})") from exc


def _registry(environment: Mapping[str, str]) -> dict[str, ModelOrigin]:
    value = environment.get("PATHPATCH_MODELS", "")
    try:
        return read_registry(value, Path(environment.get("PATHPATCH_MODEL_DIR") or MODEL_DIR))
    except ValueError as exc:
        raise BadSetting("PATHPATCH_MODELS", value, f"name=folder[,name=folder] ({exc})") from exc


def _models(environment: Mapping[str, str], name: str, registry: Mapping[str, ModelOrigin]) -> tuple[str, ...]:
    models = _words(environment, name)
    if unknown := set(models) - set(registry):
        raise BadSetting(PREFIX + name, ",".join(models), f"among {', '.join(registry)} (not {', '.join(unknown)})")
    return models
