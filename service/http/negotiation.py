"""What the request's headers ask for: `Accept`, `Accept-Encoding`, `Prefer`, `If-None-Match`."""

import asyncio
import gzip
import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from api_schemas.errors import NotAcceptable

WORTH_COMPRESSING_BYTES = 1024
VARY = "Accept, Accept-Encoding"
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE)


def _weights(header: str) -> dict[str, float]:
    """Media range or coding -> its q value."""
    found: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    weight = float(parameter[2:])
                except ValueError:
                    weight = 0.0
        if name:
            found[name] = weight
    return found


def _weight(offer: str, weights: dict[str, float]) -> float:
    for pattern in (offer, offer.partition("/")[0] + "/*", "*/*"):
        if pattern in weights:
            return weights[pattern]
    return 0.0


def media_type(request: Request, offers: Sequence[str]) -> str:
    """The offered media type that the client likes best; the first one when it does not say.

    Raises:
        NotAcceptable: It accepts none of them.
    """
    header = ",".join(request.headers.getlist("accept")).strip()
    if not header:
        return offers[0]
    weights = _weights(header)
    best = max(offers, key=lambda offer: _weight(offer, weights))
    if _weight(best, weights) <= 0:
        raise NotAcceptable(f"Accept is {header[:200]!r}: this can be served as {', '.join(offers)}")
    return best


def wait_s(request: Request, longest_s: float) -> float | None:
    """Seconds that ``Prefer: wait=n`` asks for, at most ``longest_s``; None when it does not ask."""
    match = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return None if match is None else min(float(match[1]), longest_s)


def is_unchanged(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` names this entity tag."""
    header = ",".join(request.headers.getlist("if-none-match"))
    named = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in named or etag.removeprefix("W/") in named


def accepts_gzip(request: Request) -> bool:
    """Whether the client takes gzip."""
    weights = _weights(",".join(request.headers.getlist("accept-encoding")))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


async def compressed(
    request: Request, body: bytes, headers: dict[str, str], media: str, is_worth_it: bool = True
) -> Response:
    """A response with the body, gzipped in a thread if the client accepts that and it is worth it."""
    if is_worth_it and len(body) >= WORTH_COMPRESSING_BYTES and accepts_gzip(request):
        body = await asyncio.to_thread(gzip.compress, body, 5, mtime=0)
        headers = coded(headers)
    return Response(body, headers=headers, media_type=media)


def coded(headers: dict[str, str]) -> dict[str, str]:
    """The headers of a body that was gzipped: its bytes are others, so that its tag is a weak one."""
    weak = {"ETag": "W/" + headers["ETag"].removeprefix("W/")} if "ETag" in headers else {}
    return headers | weak | {"Content-Encoding": "gzip"}
