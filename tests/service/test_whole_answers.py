"""An answer is sent in one piece, and a stream's head without waiting for what follows."""

import asyncio
import socket

import pytest
import uvloop

from service.http.connections import WholeAnswers
from tests.live_service import LiveService

pytestmark = pytest.mark.integration


def test_head_and_body_come_together(service: LiveService) -> None:
    """A client that is woken for the head alone has nothing to do yet."""
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        for _ in range(20):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head, _, body = connection.recv(65_536).partition(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
            assert len(body) == int(length.split()[1]) > 0


def test_a_head_without_a_body_is_sent_in_the_next_round() -> None:
    """Else whoever follows events would not learn that the stream has begun; and whoever closes sends all first."""

    async def scenario() -> list[bytes]:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        there.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, here)
        answers = WholeAnswers(transport, loop)
        found = []
        answers.write(b"HTTP/1.1 200 OK\r\n\r\n")
        found.append(await loop.sock_recv(there, 100))
        answers.write(b"data")
        found.append(await loop.sock_recv(there, 100))
        answers.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        answers.close()
        found += [await loop.sock_recv(there, 100), await loop.sock_recv(there, 100)]
        there.close()
        return found

    assert asyncio.run(scenario()) == [b"HTTP/1.1 200 OK\r\n\r\n", b"data", b"HTTP/1.1 204 No Content\r\n\r\n", b""]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_head_for_whoever_has_left_is_dropped(how: str) -> None:
    """uvloop raises where a closed connection is written to, and nobody would catch that."""

    async def scenario() -> list[object]:
        loop, faults = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        here, there = socket.socketpair()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, here)
        answers = WholeAnswers(transport, loop)
        answers.write(b"HTTP/1.1 200 OK\r\n\r\n")
        getattr(transport, how)()
        await asyncio.sleep(0.05)
        answers.write(b"HTTP/1.1 200 OK\r\n\r\n")
        answers.close()
        await asyncio.sleep(0.05)
        there.close()
        return faults

    assert uvloop.run(scenario()) == []
