"""The stack's data folder, held by one stack at a time."""

import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO

from pathpatch.stack.errors import DataFolderInUse, StackFailed

RETRY_S = 0.1
PATIENCE_S = 20.0  # longer than the guard of a killed stack needs to end its processes


class DataFolder:
    """A locked folder. The lock is the kernel's, so it never outlives the processes that hold it."""

    def __init__(self, path: Path) -> None:
        """Lock the folder, made if need be.

        Raises:
            DataFolderInUse: Another stack holds it; says which.
            StackFailed: The folder cannot be written.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (path / "lock").open("a+", encoding="utf-8")
        except OSError as exc:
            raise StackFailed(f"The data folder {path} cannot be used: {exc.strerror}.") from exc
        try:
            self._take()
        except BaseException:
            self._lock.close()
            raise

    def _take(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder, is_running = _holder(self._lock)
                if is_running or time.monotonic() > deadline:
                    raise DataFolderInUse(str(self.path), holder) from None
                time.sleep(RETRY_S)

    @property
    def descriptor(self) -> int:
        """For processes that must not be outlived by the lock."""
        return self._lock.fileno()

    def note_holder(self, url: str) -> None:
        """Write down who we are, for those who find the folder locked."""
        self._write(json.dumps({"pid": os.getpid(), "url": url}))

    def release(self) -> None:
        """Let go."""
        self._write("")
        self._lock.close()

    def _write(self, text: str) -> None:
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(text)
        self._lock.flush()


def _holder(lock: IO[str]) -> tuple[str, bool]:
    """Who holds the lock, in words, and whether that process lives; a killed one's guard is still cleaning up."""
    lock.seek(0)
    try:
        noted = json.load(lock)
        os.kill(noted["pid"], 0)
    except ValueError:
        return "another process", False
    except ProcessLookupError:
        return f"what process {noted['pid']}, which was killed, left running", False
    except PermissionError:
        pass
    return f"process {noted['pid']}, which serves {noted['url']}", True
