"""Small commands of simultaneous requests go to the store together, as one message each way."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from job_store.kept_connections import Command, KeptConnections


@dataclass(frozen=True)
class _Asked:
    command: Command
    answer: asyncio.Future[object]


class SharedWay:
    """What is asked while an answer is on its way waits for it, and then goes together."""

    def __init__(self, connections: KeptConnections, answer_s: float) -> None:
        self._connections = connections
        self._answer_s = answer_s
        self._waiting: list[_Asked] = []
        self._is_taken = False
        self._asking: asyncio.Task[None] | None = None

    async def answer(self, *command: str | bytes | float) -> object:
        """The store's answer to one command; raises what the client raises."""
        if self._is_taken:
            asked = _Asked(command, asyncio.get_running_loop().create_future())
            self._waiting.append(asked)
            return await asked.answer
        self._is_taken = True
        try:
            (reply,) = await self._replies([command])
        finally:  # whoever asked may have left
            self._let_others_go()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _let_others_go(self) -> None:
        self._is_taken = bool(self._waiting)
        if self._waiting:
            self._asking = asyncio.create_task(self._ask_all())

    async def _ask_all(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            replies = await self._replies([asked.command for asked in together])
            for asked, reply in zip(together, replies, strict=True):
                if asked.answer.done():
                    continue  # nobody waits for it any more
                if isinstance(reply, Exception):
                    asked.answer.set_exception(reply)
                else:
                    asked.answer.set_result(reply)
        self._is_taken = False

    async def _replies(self, together: Sequence[Command]) -> list[object]:
        try:
            async with asyncio.timeout(self._answer_s):
                return await self._connections.answers(together)
        except Exception as error:  # whatever it is: nobody may wait for ever
            return [error] * len(together)
