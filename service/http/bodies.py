"""Request bodies: limits hold before anything is parsed, and JSON is read strictly."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from api_schemas.errors import BodyTooLarge, MalformedJson, RequestTimeout, UnsupportedMediaType
from service.accounts.shares import Account
from service.parts import Parts

JSON = ("application/json",)
MERGE_PATCH = ("application/merge-patch+json", *JSON)
BIGGEST_DIGITS = 19
"""Digits of the largest integer that is read, that of 64 bits."""
SMALL_BODY_BYTES = 16_384
"""Bodies up to this are parsed in the event loop; larger ones in a thread, and counted."""
LARGE_BODY_BYTES = 2**18
"""Specs take about ten times the memory of their text while they are checked: of such only one at a time."""

_LONG_INTEGER = re.compile(rb"[0-9]{%d}" % BIGGEST_DIGITS)
_BRACKETS_OUTSIDE_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


@asynccontextmanager
async def json_body(
    request: Request, parts: Parts, media_types: tuple[str, ...] = JSON
) -> AsyncIterator[tuple[bytes, Any]]:
    """The body's bytes and what they say; large ones are worked on one at a time, which bounds the memory for them.

    Raises:
        UnsupportedMediaType, BodyTooLarge, RequestTimeout, MalformedJson: The body is refused.
        RateLimited, ServiceBusy: Too many bytes are in memory already.
    """
    limits, key = parts.limits, request.state.key_id
    _check_media_type(request, media_types)
    with parts.body_bytes.account(key) as account:
        body = await read_body(request, limits.max_body_bytes, parts.settings.body_timeout_s, account)
        if len(body) <= SMALL_BODY_BYTES:
            yield body, parse_json(body, limits.max_json_depth)
            return
        async with parts.large_bodies.taken(key) if len(body) > LARGE_BODY_BYTES else nullcontext():
            yield body, await asyncio.to_thread(parse_json, body, limits.max_json_depth)


def has_body(request: Request) -> bool:
    """Whether anything is sent along; a request that says nothing of a body has none."""
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _check_media_type(request: Request, allowed: tuple[str, ...]) -> None:
    given = request.headers.get("content-type")
    if given is None:
        raise UnsupportedMediaType(f"Content-Type is missing: it must be {' or '.join(allowed)}")
    media_type = given.partition(";")[0].strip().lower()
    if media_type not in allowed:
        raise UnsupportedMediaType(f"Content-Type is {given!r}: it must be {' or '.join(allowed)}")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"Content-Encoding is {encoding!r}: send the body uncompressed")


async def read_body(request: Request, max_bytes: int, timeout_s: float, account: Account) -> bytes:
    """The body, unless it is longer than ``max_bytes`` or takes longer than ``timeout_s`` to arrive.

    Small ones are not counted, so that whoever sends nothing else is never refused for what others hold.
    """
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
                if size > SMALL_BODY_BYTES:
                    account.hold(size)
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
    read_integer = _integer if _LONG_INTEGER.search(body) else int
    return json.loads(body, object_pairs_hook=_object, parse_int=read_integer)


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
