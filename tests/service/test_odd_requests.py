"""Requests that no decent client sends get a problem that says so: no 500, no silence."""

import json
import socket

import pytest

from tests.live_service import LiveService

pytestmark = pytest.mark.integration

POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ODD = {
    "absolute form": (b"GET http://localhost/nope HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "double slash": (b"GET //livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "null in the path": (b"GET /v1/jobs/%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "path that is not UTF-8": (b"GET /v1/jobs/%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "path that climbs": (b"GET /docs/%2e%2e/%2e%2e/settings.py HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    "parameter without a value": (b"GET /v1/jobs?limit HTTP/1.1\r\nHost: localhost\r\n\r\n", 422),
    "unknown method": (b"TRACE /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "tunnel": (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "lower-case method": (b"get /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "length and chunks": (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "null in a header": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Bad: a\x00b\r\n\r\n", 400),
    "HTTP/2 without being asked": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "WebSocket": (b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 404),
}


@pytest.mark.parametrize(("request_bytes", "status"), ODD.values(), ids=ODD)
def test_an_odd_request_gets_a_problem(service: LiveService, request_bytes: bytes, status: int) -> None:
    """As every other refusal."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head[9:12]) == status and b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == status and f"x-request-id: {problem['request_id']}".encode() in head.lower()
    assert b"pathpatch-version: " in head.lower()


@pytest.mark.parametrize(("n_bytes", "is_refused"), [(60_000, False), (70_000, True), (130_000, True)])
def test_headers_are_limited_however_they_arrive(service: LiveService, n_bytes: int, is_refused: bool) -> None:
    """In one piece, which a fast client sends."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        connection.sendall(head + b"X-Long: " + b"x" * n_bytes + b"\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert (answer.startswith(b"HTTP/1.1 400 ") and b"more than 65536 bytes" in answer) == is_refused
