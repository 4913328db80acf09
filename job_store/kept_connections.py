"""Connections kept between commands: to have the client's pool look at one each time costs more than to ask."""

from collections.abc import Sequence
from contextlib import suppress

import redis.asyncio
from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

Command = tuple[str | bytes | float, ...]
MOST_KEPT = 8


class KeptConnections:
    """Of one client. One may have broken since it was used last: only what may be sent again goes over them."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client
        self._idle: list[AbstractConnection] = []

    async def answers(self, commands: Sequence[Command]) -> list[object]:
        """The answer to each command, in one message each way; an error of one command is its answer.

        Raises:
            Exception: Whatever breaks the connection; all that are idle are then given up too.
        """
        pool = self._client.connection_pool
        connection = self._idle.pop() if self._idle else await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]  # stub: one word
            await connection.send_packed_command(b"".join(packed))
            found = [await _answer(connection) for _ in commands]
        except Exception:
            broken, self._idle = [connection, *self._idle], []
            for one in broken:
                await self._give_up(one)
            raise
        except BaseException:  # whoever asked has left
            await self._give_up(connection)
            raise
        if len(self._idle) < MOST_KEPT:
            self._idle.append(connection)
        else:
            await pool.release(connection)
        return found

    async def _give_up(self, connection: AbstractConnection) -> None:
        """An answer may still be on its way on it."""
        with suppress(Exception):
            await connection.disconnect(nowait=True)
        with suppress(Exception):
            await self._client.connection_pool.release(connection)


async def _answer(connection: AbstractConnection) -> object:
    try:
        found: object = await connection.read_response()
    except ResponseError as refused:  # of one command; the others have their own answers
        return refused
    return found
