"""A digest before stored content, checked on reading, so that a flipped bit never becomes a number."""

import hashlib
import hmac

from api_schemas.errors import DamagedData

MARK = b"sha256:"
SIZE = hashlib.sha256().digest_size


def sealed(content: bytes | str) -> bytes:
    """The content after a mark and its digest."""
    whole = content.encode() if isinstance(content, str) else content
    return b"".join((MARK, hashlib.sha256(whole).digest(), whole))


def unsealed(stored: bytes, what: str, *, is_sealed: bool | None = None) -> bytes:
    """The content.

    Args:
        what: Name of the content in the error.
        is_sealed: None: decide by the mark, which content stored by an earlier version lacks.

    Raises:
        DamagedData: The content differs from what was stored.
    """
    if not stored or not (stored.startswith(MARK) if is_sealed is None else is_sealed):
        return stored
    start = len(MARK) + SIZE
    digest, content = stored[len(MARK) : start], stored[start:]
    if not stored.startswith(MARK) or not hmac.compare_digest(digest, hashlib.sha256(content).digest()):
        raise DamagedData(f"{what} was damaged in the store: its digest does not match.")
    return content
