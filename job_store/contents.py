"""Large contents of jobs: sealed in the job store itself, or in the blob store with a reference in the record.

A reference is ``blob:SIZE:SHA-256:NAME``. Names begin with ``results/JOB`` or, for inputs and outputs of shards, which
are kept until the job ends, with ``work/JOB``; they end with a random word, so that nothing is ever overwritten.
"""

import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from api_schemas.errors import PathPatchingError, StoreUnavailable
from blob_store.place import BlobStore
from job_store.seals import MARK, sealed

log = logging.getLogger(__name__)
REFERENCE = b"blob:"
LEAST_SCHEMA = 2
"""Workers of an earlier schema of records do not know references."""


@dataclass(frozen=True)
class Content:
    """Bytes of a step that may be large, and where they would lie in the blob store."""

    name: str
    data: bytes

    @classmethod
    def of(cls, prefix: str, data: bytes | str) -> "Content":
        """Under a name of its own."""
        return cls(f"{prefix}-{secrets.token_hex(8)}", data.encode() if isinstance(data, str) else data)


class Contents:
    """Puts contents where they belong and fetches them again, for one connected store."""

    def __init__(self, blobs: BlobStore | None) -> None:
        self.blobs = blobs
        self.is_right_place = blobs is None
        """Whether the blob store was found to be the one that this job store's other processes use."""

    def is_for_blobs(self, argument: object) -> bool:
        """Whether a step's argument belongs into the blob store."""
        return isinstance(argument, Content) and self.blobs is not None and len(argument.data) >= self.blobs.least_bytes

    def stored(self, argument: Any) -> Any:
        """A step's argument as the job store keeps it; a large content is in the blob store on return.

        Raises:
            StoreFull, StoreUnavailable: The blob store has no room, or does not answer.
        """
        if not isinstance(argument, Content):
            return argument
        if not self.is_for_blobs(argument):
            return sealed(argument.data)
        assert self.blobs is not None
        self.blobs.put(argument.name, argument.data)
        return f"blob:{len(argument.data)}:{sha256(argument.data).hexdigest()}:{argument.name}".encode()

    def withdraw(self, contents: Sequence[Content], error: PathPatchingError) -> None:
        """Erase what was put for a step that certainly was refused."""
        names = [content.name for content in contents if self.is_for_blobs(content)]
        if names and self.blobs is not None and not isinstance(error, StoreUnavailable):
            with suppress(StoreUnavailable):  # then it is an orphan, and is swept
                self.blobs.drop(names)

    def fetched(self, stored: Any) -> Any:
        """Sealed content in place of a reference, with the digest of the record; anything else as it is.

        Raises:
            DamagedData: The blob is missing.
            StoreUnavailable: The blob store does not answer, or there is none here.
        """
        if not is_reference(stored):
            return stored
        if self.blobs is None:
            raise StoreUnavailable("A part of the job is in the blob store, and PATHPATCH_BLOBS is not set here.")
        _, _, digest, name = stored.decode().split(":", 3)
        return b"".join((MARK, bytes.fromhex(digest), self.blobs.get(name)))

    def check_place(self, known: bytes | None) -> str:
        """Compare the place with the one on record; with none on record, the name of this one, to put there.

        Raises:
            StoreUnavailable: It is another one.
        """
        assert self.blobs is not None
        found = self.blobs.identity(is_new=known is None)
        if known is not None and found != known.decode():
            log.error("%s (PATHPATCH_BLOBS) is not the place that has this job store's contents", self.blobs.url)
            raise StoreUnavailable(
                "PATHPATCH_BLOBS names another place than the one that has this job store's contents: "
                "service and workers must name the same folder or bucket, and a folder must be mounted."
            )
        assert found is not None
        return found


def is_reference(stored: object) -> bool:
    """Whether these bytes only say where the content is."""
    return isinstance(stored, bytes) and stored.startswith(REFERENCE)


def has_references(reply: object) -> bool:
    """Whether an answer of the job store has any."""
    return isinstance(reply, Sequence) and any(map(is_reference, reply))
