"""Request bodies: limits hold before anything is parsed, and JSON is read strictly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request

from api_schemas.errors import BodyTooLarge, MalformedJson, RequestTimeout, UnsupportedMediaType
from service.accounts.shares import Account
from service.http.strict_json import parse_json
from service.parts import Parts

JSON = ("application/json",)
MERGE_PATCH = ("application/merge-patch+json", *JSON)
SMALL_BODY_BYTES = 16_384
"""Bodies up to this are parsed in the event loop, and are not counted."""


@asynccontextmanager
async def json_text(request: Request, parts: Parts, media_types: tuple[str, ...] = JSON) -> AsyncIterator[bytes]:
    """The body's bytes, as long as the block lasts; what they say is looked at elsewhere.

    Raises:
        UnsupportedMediaType, BodyTooLarge, RequestTimeout: The body is refused.
        RateLimited, ServiceBusy: Too many bytes are in memory already.
    """
    _check_media_type(request, media_types)
    with parts.body_bytes.account(request.state.key_id) as account:
        yield await read_body(request, parts.limits.max_body_bytes, parts.settings.body_timeout_s, account)


async def json_document(request: Request, parts: Parts) -> Any:
    """What the body says, where that is not a spec.

    Raises:
        UnsupportedMediaType, BodyTooLarge, RequestTimeout, RateLimited, ServiceBusy: As ``json_text``.
        MalformedJson: It is not JSON.
    """
    async with json_text(request, parts) as body:
        return await asyncio.to_thread(parse_json, body, parts.limits.max_json_depth)


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
