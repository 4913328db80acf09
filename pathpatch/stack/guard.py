"""Ends the stack's processes when the one that started them is gone, however it went: a script of its own.

It reads lines ``add PID`` and ``remove PID`` from standard input, each PID the leader of a process group. When the
input ends, its writer is gone: whatever was added and not removed is asked to end, last started first, and killed if
it does not. It holds the stack's lock file open meanwhile, so that nobody starts on the same data too early.

A child of it reads the same lines from the descriptor that is its argument, if any, and has its turn when the first is
gone: so nothing is left even when the stack's process and its guard are killed together.

It imports the standard library only and is started with ``python -I -S``, so that it costs little.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_S = 5.0
POLL_S = 0.05


def left_behind(orders: Iterable[str]) -> list[int]:
    """Leaders that were added and not removed, in the order they were added, once the orders end."""
    leaders: list[int] = []
    for order in orders:
        verb, _, pid = order.partition(" ")
        if verb == "add":
            leaders.append(int(pid))
        elif int(pid) in leaders:
            leaders.remove(int(pid))
    return leaders


def is_alive(leader: int) -> bool:
    """Whether any process of the group is left that is more than a zombie which nobody has waited for yet."""
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):  # macOS answers the latter for a group of zombies
        return False
    return bool(_members(leader))


def _members(leader: int) -> list[int]:
    """Processes of the group, without its zombies; where the system has no /proc, the leader stands for all."""
    if not os.path.isdir("/proc/self"):
        return [leader]
    members = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
            state, _, group = file.read().rpartition(")")[2].split()[:3]
            if int(group) == leader and state != "Z":
                members.append(int(entry))
    return members


def _leads(leader: int) -> bool:
    return is_alive(leader) and leader in _members(leader)


def end_group(leader: int, grace_s: float = GRACE_S) -> None:
    """Ask the leader to end, then kill what is left of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while _leads(leader) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def main() -> None:
    """Wait for the input to end, and end everything; a child does so should this process be killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    second = _second(int(sys.argv[1])) if len(sys.argv) > 1 else 0
    leaders = left_behind(sys.stdin)
    _end(leaders)
    if second and not leaders:
        os.waitpid(second, 0)


def _second(orders: int) -> int:
    """The process id of the second guard, which this one starts."""
    first = os.getpid()
    if second := os.fork():
        os.close(orders)
        return second
    os.setsid()
    sys.stdin.close()
    with os.fdopen(orders, encoding="utf-8") as file:
        leaders = left_behind(file)
    while leaders and is_alive(first):
        time.sleep(POLL_S)
    _end(leaders)
    os._exit(0)


def _end(leaders: list[int]) -> None:
    for leader in reversed(leaders):
        end_group(leader)


if __name__ == "__main__":
    main()
