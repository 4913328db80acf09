"""Room that is kept on the broker's disk, so that jobs can still be erased when it is full.

A broker that cannot write refuses every change, erasing included. The reserve is given up then; what is written into
the room is erasing alone: new jobs are refused (`pp:disk_full`) until there is room enough to keep a reserve again.
"""

import os
import shutil
import threading
from pathlib import Path
from typing import IO

from pathpatch.stack.broker import Broker
from pathpatch.stack.supervision import Say

RESERVE_BYTES = 32 * 2**20
ROOM = 3
"""There must be room for so many reserves before one is kept."""
LOOK_S = 1.0
FLAG = "pp:disk_full"


class Reserve:
    """Watches the broker's disk, in a thread, from ``start`` to ``stop``."""

    def __init__(self, broker: Broker, say: Say, size: int = RESERVE_BYTES) -> None:
        self._broker = broker
        self._say = say
        self._size = size
        self._is_flagged: bool | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reserve of disk", daemon=True)

    @property
    def path(self) -> Path:
        """The file that holds the space."""
        return self._broker.folder / "reserve"

    def start(self) -> None:
        """Begin to watch the disk, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ending.set()
        self._thread.join(2 * LOOK_S)

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                self.look()
            except OSError as exc:
                self._say("stack", f"the broker's disk cannot be watched: {exc.strerror}")
            self._ending.wait(LOOK_S)

    def look(self) -> None:
        """One look at the disk."""
        if self.path.exists() and b"aof_last_write_status:err" in self._broker.ask("INFO persistence"):
            self.path.unlink()
            self._say(
                "stack", "the broker's disk is full: jobs can be erased, and new ones are refused until there is room"
            )
        if not self.path.exists() and shutil.disk_usage(self._broker.folder).free >= ROOM * self._size:
            self._fill()
        self._flag(not self.path.exists())

    def _fill(self) -> None:
        fresh = self.path.with_suffix(".new")
        with fresh.open("wb") as file:
            _take_blocks(file, self._size)
        os.replace(fresh, self.path)

    def _flag(self, is_full: bool) -> None:
        """Have the store refuse new jobs, or take them again."""
        if is_full != self._is_flagged:
            answer = self._broker.ask(f"SET {FLAG} 1" if is_full else f"DEL {FLAG}")
            if answer.startswith((b"+OK\r\n+OK", b"+OK\r\n:")):
                if self._is_flagged:
                    self._say("stack", "the broker's disk has room again: new jobs are taken")
                self._is_flagged = is_full


def _take_blocks(file: IO[bytes], size: int) -> None:
    """Make the file so large that its blocks are taken: no hole, and nothing that a file system would compress."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except (AttributeError, OSError):  # macOS has it not, and some file systems neither
        for _ in range(size // 2**16):
            file.write(os.urandom(2**16))
