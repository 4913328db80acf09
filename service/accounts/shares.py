"""What all keys have together, divided so that one key's use never delays another's."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from api_schemas.errors import RateLimited, ServiceBusy


class Slots:
    """So many at once in all and per key. A key's requests stand in line, and the lines take turns."""

    def __init__(self, what: str, *, in_all: int, per_key: int, most_waiting: int = 0) -> None:
        """``what`` names them in a refusal; ``most_waiting`` requests of one key may stand in line."""
        self.what = what
        self.in_all = in_all
        self.per_key = min(per_key, in_all)
        self._most_waiting = most_waiting
        self._taken: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def taken_in_all(self) -> int:
        """Slots taken by all keys together."""
        return self._taken.total()

    def has_room(self, key: str) -> bool:
        """Whether this key would get one at once."""
        return self.taken_in_all < self.in_all and self._taken[key] < self.per_key

    @asynccontextmanager
    async def taken(self, key: str) -> AsyncIterator[None]:
        """One slot for the block, waited for in the key's line.

        Raises:
            RateLimited: The line is full.
        """
        await self._enter(key)
        try:
            yield
        finally:
            self._leave(key)

    async def _enter(self, key: str) -> None:
        line = self._lines.get(key)
        if line is None and self.has_room(key):
            self._taken[key] += 1
            return
        if len(line or ()) >= self._most_waiting:
            raise RateLimited(
                f"as many {self.what} as allowed are in use: {self._taken[key]} by this key, which may have "
                f"{self.per_key}, and {self.taken_in_all} in all, which may be {self.in_all}"
            )
        turn = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._step_out(key, turn)
            raise

    def _step_out(self, key: str, turn: "asyncio.Future[None]") -> None:
        """Whoever waited has left, perhaps just as its turn came."""
        if turn.done() and not turn.cancelled():
            self._leave(key)
        elif line := self._lines.get(key):
            line.remove(turn)
            if not line:
                del self._lines[key]

    def _leave(self, key: str) -> None:
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]
        self._call_next()

    def _call_next(self) -> None:
        """Give free slots to the lines, in turns."""
        for key in list(self._lines):
            if self.has_room(key):
                line = self._lines[key]
                self._taken[key] += 1
                line.popleft().set_result(None)
                self._lines.move_to_end(key)
                if not line:
                    del self._lines[key]


class Rounds:
    """So much work of each key in one round of the event loop, so that a flood of it lets others in between."""

    def __init__(self, per_key: int) -> None:
        self._per_key = per_key
        self._done: Counter[str] = Counter()

    async def turn(self, key: str) -> None:
        """Wait for a round in which the key has not done its share."""
        while self._done[key] >= self._per_key:  # noqa: ASYNC110 (each sleep is one round)
            await asyncio.sleep(0)
        if not self._done:
            asyncio.get_running_loop().call_soon(self._done.clear)
        self._done[key] += 1


@dataclass
class Account:
    """The bytes that one request holds."""

    budget: "ByteBudget"
    key: str
    size: int = 0

    def hold(self, size: int) -> None:
        """Have it hold this many bytes from now on.

        Raises:
            RateLimited: The key's requests hold too many.
            ServiceBusy: Those of all keys do.
        """
        self.budget.change(self.key, size - self.size)
        self.size = size


class ByteBudget:
    """Bytes of request bodies that are in memory, per key and in all."""

    def __init__(self, *, in_all: int, per_key: int) -> None:
        self.in_all = in_all
        self.per_key = per_key
        self._held: Counter[str] = Counter()

    @contextmanager
    def account(self, key: str) -> Iterator[Account]:
        """For one request, which holds nothing any more after the block."""
        account = Account(self, key)
        try:
            yield account
        finally:
            account.hold(0)

    def change(self, key: str, by: int) -> None:
        """Count bytes of a key; see ``Account.hold``."""
        if by > 0 and self._held[key] + by > self.per_key:
            raise RateLimited(
                f"the bodies of this key's unanswered requests have more than {self.per_key} bytes together "
                "(PATHPATCH_MAX_KEY_BODY_BYTES): send fewer at a time"
            )
        if by > 0 and self._held.total() + by > self.in_all:
            raise ServiceBusy(
                f"the bodies of all unanswered requests have more than {self.in_all} bytes together "
                "(PATHPATCH_MAX_ALL_BODY_BYTES): try again in a moment"
            )
        self._held[key] += by
        if not self._held[key]:
            del self._held[key]
