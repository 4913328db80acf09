"""A digest before what is stored, checked when it is read: a bit that flips in a store is never a number."""

import hashlib
import hmac

from api_schemas.errors import DamagedData

MARK = b"sha256:"
SIZE = hashlib.sha256().digest_size


def sealed(content: bytes | str) -> bytes:
    """The content behind a mark and its digest."""
    whole = content.encode() if isinstance(content, str) else content
    return b"".join((MARK, hashlib.sha256(whole).digest(), whole))


def unsealed(stored: bytes, what: str, *, is_sealed: bool | None = None) -> bytes:
    """The content.

    Args:
        what: Names it in the error.
        is_sealed: None: as its mark says. What an earlier version has stored has none.

    Raises:
        DamagedData: It is not what was stored.
    """
    if not stored or not (stored.startswith(MARK) if is_sealed is None else is_sealed):
        return stored
    start = len(MARK) + SIZE
    digest, content = stored[len(MARK) : start], stored[start:]
    if not stored.startswith(MARK) or not hmac.compare_digest(digest, hashlib.sha256(content).digest()):
        raise DamagedData(f"{what} was damaged in the store: its digest does not match.")
    return content
