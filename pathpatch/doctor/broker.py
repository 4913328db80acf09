"""The broker: whether it keeps what it accepts."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pathpatch.doctor.finding import Finding

TIMEOUT_S = 5.0
FULL_SHARE = 0.8
CLOCK_S = 2.0
LEAST_MAJOR = {"redis": 7, "valkey": 8}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def own_broker(data_dir: Path) -> str | None:
    """Address of the broker that `pathpatch up` runs on this data folder, if its file can be read."""
    for file in sorted(data_dir.glob("*/valkey.conf")):
        try:
            words = dict(line.split(maxsplit=1) for line in file.read_text().splitlines() if " " in line)
            return f"redis://:{words['requirepass']}@127.0.0.1:{words['port']}/0"
        except (OSError, KeyError):
            continue
    return None


def examine(url: str) -> Iterator[Finding]:
    """Ask the broker itself; its password is never shown."""
    import redis

    from job_store.address import Sentinels
    from job_store.connections import blocking

    try:
        sentinels = Sentinels.of(url)
        where, client = _shown(url), blocking(url, TIMEOUT_S)
    except ValueError as exc:
        yield Finding("broker", "fault", f"REDIS_URL makes no sense: {exc}", "correct it")
        return
    try:
        info = client.info("all")
        seconds, microseconds = client.time()
    except redis.RedisError as exc:
        advice = "start it, or set REDIS_URL to the broker of service and workers"
        yield Finding("broker", "fault", f"{where} does not answer ({exc})", advice)
        return
    finally:
        client.close()
    yield _version(where, info)
    if sentinels is not None:
        yield _replicas(info, sentinels.replicas)
    yield _append_only(info)
    yield _eviction(info)
    yield _memory(info)
    yield clock("the broker", seconds + microseconds / 1e6 - time.time())
    if not urlsplit(url).password and urlsplit(url).hostname not in LOOPBACK:
        advice = "set a password (requirepass) and use redis://:PASSWORD@HOST, or rediss:// beyond a private network"
        yield Finding("broker password", "warning", f"{where} takes commands without a password", advice)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "sentinel":
        return f"sentinel://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}"


def _replicas(info: Mapping[str, Any], wanted: int) -> Finding:
    following = sum(
        isinstance(value, dict) and value.get("state") == "online"
        for name, value in info.items()
        if name.startswith("slave")
    )
    detail = f"{following} follow; a submit waits for {wanted}"
    if following < wanted:
        advice = "start replicas, or lower ?replicas= in REDIS_URL: meanwhile submits get a 503"
        return Finding("replicas", "fault", detail, advice)
    if following == wanted:
        return Finding("replicas", "warning", detail, "add one: with the loss of a single server, submits get a 503")
    return Finding("replicas", "ok", detail)


def _version(where: str, info: Mapping[str, Any]) -> Finding:
    kind = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{kind}_version", "0"))
    if int(version.partition(".")[0]) < LEAST_MAJOR[kind]:
        advice = "use Valkey 8 or newer, or Redis 7 or newer"
        return Finding("broker", "fault", f"{where} is {kind} {version}", advice)
    return Finding("broker", "ok", f"{where} is {kind} {version}")


def _append_only(info: Mapping[str, Any]) -> Finding:
    if not info.get("aof_enabled"):
        advice = "run: CONFIG SET appendonly yes, and write it into its configuration; without it a restart loses jobs"
        return Finding("append-only file", "fault", "it is off", advice)
    if info.get("aof_last_write_status") != "ok":
        return Finding("append-only file", "fault", "the last write failed", "free space on the broker's disk")
    return Finding("append-only file", "ok", "it is on, and the last write succeeded")


def _eviction(info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        advice = "run: CONFIG SET maxmemory-policy noeviction, and write it into its configuration: others erase jobs"
        return Finding("eviction", "fault", f"maxmemory-policy is {policy}", advice)
    return Finding("eviction", "ok", "maxmemory-policy is noeviction")


def _memory(info: Mapping[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        advice = "set maxmemory below the machine's memory: without a limit the system may end the broker"
        return Finding("broker memory", "warning", f"{used / 1e6:.0f} MB used, without a limit", advice)
    detail = f"{used / 1e6:.0f} of {limit / 1e6:.0f} MB used"
    if used > FULL_SHARE * limit:
        advice = "raise maxmemory, shorten PATHPATCH_RETENTION_S, or delete jobs: when it is full, submits get a 503"
        return Finding("broker memory", "warning", detail, advice)
    return Finding("broker memory", "ok", detail)


def clock(whose: str, ahead_s: float) -> Finding:
    """How far another clock is from this machine's."""
    if abs(ahead_s) > CLOCK_S:
        way = "ahead of" if ahead_s > 0 else "behind"
        advice = "set both by NTP: deadlines, retention and limits per day go by the clock"
        return Finding("clock", "warning", f"{whose} is {abs(ahead_s):.0f} s {way} this machine", advice)
    return Finding("clock", "ok", f"{whose} and this machine agree")
