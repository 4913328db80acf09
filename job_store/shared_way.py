"""Small commands of simultaneous requests go to the store together, as one message each way."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import redis.asyncio
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

Command = tuple[str | bytes | float, ...]


@dataclass(frozen=True)
class _Asked:
    command: Command
    answer: asyncio.Future[object]


class SharedWay:
    """What is asked while an answer is on its way waits for it, and then goes together.

    It keeps one of the client's connections: to take one for each message costs more than the message.
    """

    def __init__(self, client: "redis.asyncio.Redis", answer_s: float) -> None:
        self._client = client
        self._answer_s = answer_s
        self._waiting: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None
        self._kept: AbstractConnection | None = None

    async def answer(self, *command: str | bytes | float) -> object:
        """The store's answer to one command; raises what the client raises."""
        asked = _Asked(command, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
        return await asked.answer

    async def _ask_all(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            for asked, reply in zip(together, await self._replies(together), strict=True):
                if asked.answer.done():
                    continue  # nobody waits for it any more
                if isinstance(reply, Exception):
                    asked.answer.set_exception(reply)
                else:
                    asked.answer.set_result(reply)

    async def _replies(self, together: Sequence[_Asked]) -> list[object]:
        try:
            async with asyncio.timeout(self._answer_s):
                connection = await self._connection()
                await connection.send_packed_command(connection.pack_commands([asked.command for asked in together]))
                return [await _reply(connection) for _ in together]
        except Exception as error:  # whatever it is: nobody may wait for ever
            await self._give_back()
            return [error] * len(together)

    async def _connection(self) -> AbstractConnection:
        if self._kept is None:
            self._kept = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        return self._kept

    async def _give_back(self) -> None:
        """The next message gets another connection: on this one an answer may still be on its way."""
        kept, self._kept = self._kept, None
        if kept is not None:
            with suppress(Exception):
                await kept.disconnect(nowait=True)
            with suppress(Exception):
                await self._client.connection_pool.release(kept)


async def _reply(connection: AbstractConnection) -> object:
    try:
        found: object = await connection.read_response()
    except ResponseError as refused:  # of one command; the others have their own answers
        return refused
    return found
