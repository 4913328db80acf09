"""What pages of other sites may do, where the operator lists them (CORS)."""

from collections.abc import Collection
from typing import Any

from service.http.documented import OF_EVERY_ANSWER

METHODS = ("GET", "HEAD", "POST", "DELETE")
REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "X-Request-Id",
)
ANSWER_HEADERS = (
    *OF_EVERY_ANSWER,
    "Content-Disposition",
    "ETag",
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
)


def cors(origins: Collection[str]) -> dict[str, Any]:
    """Options of Starlette's middleware: no cookies, since none are used; keys travel in a header."""
    return {
        "allow_origins": list(origins),
        "allow_methods": METHODS,
        "allow_headers": REQUEST_HEADERS,
        "expose_headers": ANSWER_HEADERS,
        "allow_private_network": True,
    }
