"""Identifiers that sort by creation time, even if the clock steps back within a process."""

import secrets
import threading
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
RANDOM_BITS = 80
_last = 0
_lock = threading.Lock()


def _ulid() -> str:
    """26 characters: 48 bits of milliseconds and 80 random bits, larger than every earlier one of this process."""
    global _last
    with _lock:
        fresh = (time.time_ns() // 1_000_000 << RANDOM_BITS) | secrets.randbits(RANDOM_BITS)
        if fresh >> RANDOM_BITS <= _last >> RANDOM_BITS:
            fresh = _last + 1 + secrets.randbits(40)
        _last = fresh
    return "".join([PAIRS[fresh >> shift & 1023] for shift in range(120, -1, -10)])


def new_job_id() -> str:
    """Identifier of a job."""
    return f"job_{_ulid()}"


def new_batch_id() -> str:
    """Identifier of a batch."""
    return f"batch_{_ulid()}"


def new_key_id() -> str:
    """Identifier of an API key (not its secret)."""
    return f"key_{_ulid()}"
