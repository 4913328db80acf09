"""A folder or a bucket that holds large contents of jobs: put, get, erase. obstore does the work."""

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from api_schemas.errors import DamagedData, StoreFull, StoreUnavailable

log = logging.getLogger(__name__)
PLACE = "place"
"""Name of the blob that says which place this is."""
ALLOWED = "file:///folder or s3://bucket[/prefix]"
LEAST_BYTES = 32 * 2**10
"""Smaller contents stay in the job store: a request to a bucket takes longer than Redis keeps them cheaply."""
RESERVE_BYTES = 128 * 2**20
"""So much of a folder's disk must be free for new jobs."""
FULL = ("No space left", "File too large", "quota exceeded", "StorageFull", "507 Insufficient")


class BlobStore:
    """Blobs by name. All methods block, and may be called from any thread.

    Args:
        url: ``file:///folder`` or ``s3://bucket[/prefix]``; the usual ``AWS_*`` variables have S3's address and keys.
        least_bytes: Size from which a content of a job belongs here.
        reserve_bytes: Room that a folder's disk must have for new jobs.

    Raises:
        ValueError: The URL is neither.
    """

    def __init__(self, url: str, least_bytes: int = LEAST_BYTES, reserve_bytes: int = RESERVE_BYTES) -> None:
        self.url = url
        self.least_bytes = least_bytes
        self._reserve_bytes = reserve_bytes
        parts = urlsplit(url)
        is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        if not is_folder and not (parts.scheme == "s3" and parts.netloc):
            raise ValueError(f"{url!r} is not {ALLOWED}")
        self._folder = Path(unquote(parts.path)) if is_folder else None

    @cached_property
    def _store(self) -> Any:
        """Made at the first use: a connection must not meet a fork."""
        return _in_bucket(self.url) if self._folder is None else _in_folder(self._folder)

    @property
    def kind(self) -> str:
        """``folder`` or ``bucket``."""
        return "bucket" if self._folder is None else "folder"

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "BlobStore | None":
        """The one that ``PATHPATCH_BLOBS`` names; None where it is not set.

        Raises:
            ValueError: A variable makes no sense.
        """
        url = environment.get("PATHPATCH_BLOBS", "").strip()
        numbers = {
            "least_bytes": environment.get("PATHPATCH_BLOBS_LEAST_BYTES", "").strip(),
            "reserve_bytes": environment.get("PATHPATCH_BLOBS_RESERVE_BYTES", "").strip(),
        }
        for name, value in numbers.items():
            if value and not value.isdecimal():
                raise ValueError(f"PATHPATCH_BLOBS_{name.upper()} is {value!r}: it must be a whole number, 0 or more")
        return cls(url, **{name: int(value) for name, value in numbers.items() if value}) if url else None

    def put(self, name: str, content: bytes) -> None:
        """Keep a blob; on return it is on the disk, or in the bucket.

        Raises:
            StoreFull: There is no room.
            StoreUnavailable: The place does not answer.
        """
        try:
            self._store.put(name, content)
            if self._folder is not None:
                _flush(self._folder / name)
                _flush((self._folder / name).parent)
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def get(self, name: str) -> bytes:
        """A blob.

        Raises:
            DamagedData: It is missing.
            StoreUnavailable: The place does not answer, or is not there itself.
        """
        if (content := self._get(name)) is not None:
            return content
        if self._get(PLACE) is None:
            log.error("%s (PATHPATCH_BLOBS) is empty, or not there", self.url)
            raise StoreUnavailable("The blob store is empty, or not there.")
        raise DamagedData(f"{name} is missing from the blob store.")

    def _get(self, name: str) -> bytes | None:
        try:
            return bytes(self._store.get(name).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def identity(self, *, is_new: bool) -> str | None:
        """Which place this is: a random word that it keeps; None where it keeps none and is not new."""
        found = self._get(PLACE)
        if found is None and is_new:
            try:
                self._store.put(PLACE, secrets.token_hex(16).encode(), mode="create")
            except AlreadyExistsError:
                pass
            except (BaseError, OSError) as error:
                raise self._translated(error) from error
            found = self._get(PLACE)
        return None if found is None else found.decode()

    def erase(self, prefix: str) -> None:
        """Erase all blobs whose names begin with the prefix and a slash.

        Raises:
            StoreUnavailable: The place does not answer; some may be erased.
        """
        try:
            if self._folder is not None:
                shutil.rmtree(self._folder / prefix, ignore_errors=False)
            else:
                for found in self._store.list(prefix, chunk_size=1000):
                    self._store.delete([one["path"] for one in found])
        except FileNotFoundError:
            return
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def drop(self, names: Sequence[str]) -> None:
        """Erase single blobs, which may be gone already; raises what ``erase`` raises."""
        try:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._store.delete(name)
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def prefixes(self, prefix: str) -> list[str]:
        """What lies directly below a prefix: names of blobs up to their next slash."""
        try:
            return sorted(self._store.list_with_delimiter(prefix)["common_prefixes"])
        except FileNotFoundError:
            return []
        except (BaseError, OSError) as error:
            raise self._translated(error) from error

    def check_room(self) -> None:
        """Look at the disk below a folder; of a bucket nothing is known.

        Raises:
            StoreFull: It has less room than new jobs must find.
        """
        if self._folder is None:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            raise self._translated(error) from error
        if free < self._reserve_bytes:
            raise StoreFull(
                f"Less than {self._reserve_bytes / 1e6:.0f} MB are free on the disk of PATHPATCH_BLOBS: "
                "no new jobs are taken until there is room."
            )

    def check(self) -> None:
        """See that the place answers and has room; raises what ``get`` and ``check_room`` raise."""
        self.check_room()
        self._get(PLACE)

    def _translated(self, error: Exception) -> Exception:
        """Our error; only the log names the place."""
        log.warning("%s (PATHPATCH_BLOBS): %s", self.url, str(error).partition("\n")[0])
        if any(word in str(error) for word in FULL):
            return StoreFull("The blob store is full: free some room, delete jobs, or wait for results to expire.")
        return StoreUnavailable("The blob store does not answer. Try again in a moment.")


def _in_folder(folder: Path) -> Any:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return obstore.store.LocalStore(folder, automatic_cleanup=True)


def _in_bucket(url: str) -> Any:
    is_plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
    return obstore.store.S3Store.from_url(
        url,
        client_options={"connect_timeout": "2s", "timeout": "30s", "allow_http": is_plain},
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=10)},
    )


def _flush(path: Path) -> None:
    """obstore renames a finished file into place; the disk may still lack its bytes, or its name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
