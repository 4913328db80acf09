"""Files of a folder that others have filled: regular ones only, of bounded size, and JSON of bounded depth."""

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

MIB = 1 << 20
MAX_JSON_BYTES = 16 * MIB
MAX_JSON_DEPTH = 32
MOST_REMEMBERED = 1000
SETTLED_NS = 20_000_000
"""A file system's clock may stand still for so long: two writes within it can bear one time."""

Value = TypeVar("Value")
Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, and the times of the last write and the last change: equal as long as nobody wrote."""


class UnusableCheckpoint(Exception):
    """A folder that cannot be run; the reason names files and no folder, for clients read it."""

    @property
    def reason(self) -> str:
        """In words, without a full stop."""
        return str(self)

    def in_folder(self, folder: Path) -> str:
        """The reason with the folder, for the operator's log."""
        return self.reason


class NoCheckpoint(UnusableCheckpoint):
    """The folder holds something else, such as an adapter; the reason says what to register in its place."""


class MissingFolder(UnusableCheckpoint):
    """There is no folder."""

    def __init__(self) -> None:
        super().__init__("its folder does not exist")

    def in_folder(self, folder: Path) -> str:
        return f"looked for the folder {folder}, which does not exist"


class MissingFile(UnusableCheckpoint):
    """The folder lacks a file."""

    def __init__(self, file: str, found: str = "none") -> None:
        self._file, self._found = file, found
        super().__init__(f"looked for {file} in its folder, which has {found}")

    def in_folder(self, folder: Path) -> str:
        return f"looked for {self._file} in the folder {folder}, which has {self._found}"


def stamp(path: Path) -> Stamp:
    """What tells cheaply whether a file has changed.

    Raises:
        FileNotFoundError: There is none.
        UnusableCheckpoint: It is a pipe, a device or a folder, or may not be looked at.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise unreadable(path.name, exc) from exc
    if not stat.S_ISREG(found.st_mode):
        raise UnusableCheckpoint(f"{path.name} is not a regular file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def unreadable(name: str, exc: OSError) -> UnusableCheckpoint:
    """The error of a file or folder that the system does not let this process read."""
    return UnusableCheckpoint(f"{name} cannot be read by this process's user ({exc.strerror})")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; never waits, as opening a pipe would.

    Raises:
        FileNotFoundError: There is none.
        UnusableCheckpoint: It is a pipe, a device or a folder, or may not be read.
    """
    stamp(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise unreadable(path.name, exc) from exc
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnusableCheckpoint(f"{path.name} is not a regular file")
    return os.fdopen(handle, "rb")


def read_bytes(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """A small file.

    Raises:
        FileNotFoundError: There is none.
        UnusableCheckpoint: It cannot be read, or is larger than ``max_bytes``.
    """
    with open_regular(path) as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as exc:
            raise unreadable(path.name, exc) from exc
    if len(content) > max_bytes:
        raise UnusableCheckpoint(f"{path.name} has more than {max_bytes // MIB} MiB, and at most that is read")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object.

    Raises:
        FileNotFoundError: There is none.
        UnusableCheckpoint: It cannot be read, is too large or too deep, or is no JSON object.
    """
    return parse_json(path.name, read_bytes(path))


def parse_json(name: str, content: bytes) -> dict[str, Any]:
    """The JSON object of a file's content.

    Raises:
        UnusableCheckpoint: It is none, or nested too deep.
    """
    try:
        value = json.loads(content)
    except RecursionError as exc:
        raise _too_deep(name) from exc
    except ValueError as exc:
        raise UnusableCheckpoint(f"{name} is damaged ({type(exc).__name__})") from exc
    if not isinstance(value, dict):
        raise UnusableCheckpoint(f"{name} is damaged (it is no JSON object)")
    if _is_deeper(value, MAX_JSON_DEPTH):
        raise _too_deep(name)
    return value


def _too_deep(name: str) -> UnusableCheckpoint:
    return UnusableCheckpoint(f"{name} is nested deeper than {MAX_JSON_DEPTH} levels")


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        parts = (list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [part for children in parts for part in children]
    return bool(level)


class Remembered(Generic[Value]):
    """A way to read files that keeps what it read for as long as a file keeps its stamp: a look costs one ``stat``."""

    def __init__(self, read: Callable[[Path], Value]) -> None:
        self._read = read
        self.known: dict[str, tuple[Stamp, Value]] = {}
        """By path; what another process knows may be added."""

    def __call__(self, path: Path) -> Value:
        """What reading the file tells.

        Raises:
            FileNotFoundError: There is none.
            UnusableCheckpoint: It cannot be read, or was being written meanwhile.
        """
        seen, known = stamp(path), self.known.get(str(path))
        if known is not None and known[0] == seen:
            return known[1]
        while 0 <= time.time_ns() - seen[-1] < SETTLED_NS:
            time.sleep(SETTLED_NS / 1e9)
        value = self._read(path)
        if stamp(path) != seen:
            raise UnusableCheckpoint(f"{path.name} is being written")
        self.known = {**dict(list(self.known.items())[-MOST_REMEMBERED:]), str(path): (seen, value)}
        return value
