"""Counts the operations that a piece of our code takes, so that growth is measured and not timed."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

COUNTED = ("api_schemas", "planning", "service")
MOST_TIMES = 2.5
"""Twice the size may take so many times the operations."""


class Key(str):
    """A string that counts how often it is compared: loops inside C, such as ``list.count``, are seen by that alone."""

    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Key.comparisons += 1
        return str.__eq__(self, other)


def operations(work: Callable[[], object]) -> int:
    """Instructions that our own modules execute during the work, and comparisons of ``Key``s."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not str(frame.f_globals.get("__name__", "")).startswith(COUNTED):
            return None
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before, compared = sys.gettrace(), Key.comparisons
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count + Key.comparisons - compared


def growth(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times the operations of a size twice that takes; ``work(size)`` prepares what is then counted."""
    small, large = operations(work(size)), operations(work(2 * size))
    assert small > size, "the work is not done in the code that is counted"
    return large / small
