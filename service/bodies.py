"""Request bodies: limits hold before anything is parsed, and JSON is read strictly."""

import asyncio
import json
import re
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from api_schemas.errors import BodyTooLarge, MalformedJson, RequestTimeout, UnsupportedMediaType

BIGGEST_DIGITS = 19
"""Digits of the largest integer that is read, that of 64 bits."""
SMALL_BODY_BYTES = 16_384
"""Bodies up to this are parsed in the event loop; larger ones in a thread."""

_BRACKETS_OUTSIDE_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


async def read_json(request: Request, max_bytes: int, max_depth: int, timeout_s: float) -> tuple[bytes, Any]:
    """The body's bytes and what they say.

    Raises:
        UnsupportedMediaType, BodyTooLarge, RequestTimeout, MalformedJson: The body is refused.
    """
    _check_media_type(request)
    body = await read_body(request, max_bytes, timeout_s)
    if len(body) <= SMALL_BODY_BYTES:
        return body, parse_json(body, max_depth)
    return body, await asyncio.to_thread(parse_json, body, max_depth)


def _check_media_type(request: Request) -> None:
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"Content-Type is {given!r}: it must be application/json")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"Content-Encoding is {encoding!r}: send the body uncompressed")


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """The body, unless it is longer than ``max_bytes`` or takes longer than ``timeout_s`` to arrive."""
    too_large = (
        f"the body may have at most {max_bytes} bytes (PATHPATCH_MAX_BODY_BYTES): fewer prompts, or a seeded dataset"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise BodyTooLarge(f"Content-Length is {declared}: {too_large}")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise BodyTooLarge(too_large)
                chunks.append(chunk)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {timeout_s:g} s (PATHPATCH_BODY_TIMEOUT_S)") from None
    except ClientDisconnect:
        raise MalformedJson("the connection closed before the whole body had arrived") from None
    return b"".join(chunks)


def parse_json(body: bytes, max_depth: int) -> Any:
    """The value that the body states.

    Raises:
        MalformedJson: Bad syntax or UTF-8, NaN or infinity, a key twice, an integer beyond 64 bits, or deep nesting.
    """
    _check_depth(body, max_depth)
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise MalformedJson(f"the body is not valid JSON: {exc}") from None
    return json.loads(body, object_pairs_hook=_object, parse_int=_integer)


def _check_depth(body: bytes, max_depth: int) -> None:
    depth = 0
    for match in _BRACKETS_OUTSIDE_STRINGS.finditer(body):
        first = match[0][0]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                allowed = f"{max_depth} levels (PATHPATCH_MAX_JSON_DEPTH)"
                raise MalformedJson(f"the body is nested deeper than {allowed} at byte {match.start()}")
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise MalformedJson(f"the key {twice[:80]!r} is given twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits) > BIGGEST_DIGITS:
        raise MalformedJson(f"the integer {digits[:24]}... does not fit into 64 bits")
    return int(digits)
