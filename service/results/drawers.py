"""The processes that make large results and figures, as the service sees them: one for each order, and one kept ready.

To import what draws takes most of the time of a figure, so that it is done before a figure is asked for.
"""

import asyncio
import contextlib
import logging
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import IO, cast

import orjson

from api_schemas.errors import DamagedData, InternalError, InvalidParameter, ResultExpired, StoreUnavailable
from service.results.rendering import DAMAGED, DOES_NOT_FIT, GONE, NO_STORE, READY, UNFIT_LOOK, Order

LOGGER = logging.getLogger("service.results.drawers")
TIMEOUT_S = 120.0
BEGIN_AFTER_S = 3.0
"""After the service's start, which has better things to do first."""


@dataclass
class Drawer:
    """One process, which takes one order and writes to a file."""

    process: asyncio.subprocess.Process
    file: IO[bytes]

    @classmethod
    async def start(cls, redis_url: str, *options: str) -> "Drawer":
        """A new one."""
        with contextlib.ExitStack() as stack:
            file = cast("IO[bytes]", stack.enter_context(tempfile.TemporaryFile()))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "service.results.rendering", *options),
                stdin=asyncio.subprocess.PIPE,
                stdout=file,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "REDIS_URL": redis_url},
            )
            stack.pop_all()
        return cls(process, file)

    async def make(self, order: Order) -> tuple[int, str]:
        """Exit code and standard error of the process."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, complaint = await self.process.communicate(orjson.dumps(asdict(order)))
        except TimeoutError:
            return -1, f"not done after {TIMEOUT_S:g} s"
        finally:
            self._kill()
        return self.process.returncode or 0, complaint.decode(errors="replace").strip()

    def end(self) -> None:
        """No order will come, or nobody waits for the file."""
        self._kill()
        self.file.close()

    def _kill(self) -> None:
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()


class Drawers:
    """Draws; how many at once is for others to say."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._ready: Drawer | None = None
        self._was_used = asyncio.Event()

    async def keep_ready_forever(self) -> None:
        """Have a process ready from soon after the start, and again after each order, until cancelled."""
        await asyncio.sleep(BEGIN_AFTER_S)
        while True:
            self._was_used.clear()
            if self._ready is None:
                try:
                    self._ready = await Drawer.start(self._redis_url, READY)
                except OSError as exc:
                    LOGGER.warning("no process for figures could be started: %s", exc)
            await self._was_used.wait()

    async def render(self, order: Order) -> IO[bytes]:
        """A file with what was ordered, open at its beginning; it is gone once closed.

        Raises:
            InvalidParameter: The result cannot fill that kind of figure.
            ResultExpired, DamagedData, StoreUnavailable, InternalError: There is nothing to show.
        """
        drawer = self._taken() or await Drawer.start(self._redis_url)
        try:
            _raise_from(order, *await drawer.make(order))
        except BaseException:
            drawer.end()
            raise
        finally:
            self._was_used.set()
        drawer.file.seek(0)
        return drawer.file

    def _taken(self) -> Drawer | None:
        """The one that is ready, unless something has ended it meanwhile."""
        drawer, self._ready = self._ready, None
        if drawer is not None and drawer.process.returncode is not None:
            drawer.end()
            return None
        return drawer

    def stop(self) -> None:
        """End the process that is ready."""
        if self._ready is not None:
            self._ready.end()


def _raise_from(order: Order, code: int, complaint: str) -> None:
    if code == DOES_NOT_FIT:
        raise InvalidParameter(complaint, "/query/kind")
    if code == UNFIT_LOOK:
        raise InvalidParameter(complaint, f"/query/{complaint.partition(':')[0]}")
    if code == GONE:
        raise ResultExpired("The result was erased a moment ago.")
    if code == DAMAGED:
        raise DamagedData(complaint)
    if code == NO_STORE:
        raise StoreUnavailable(complaint)
    if code:
        LOGGER.error("rendering failed", extra={"job_id": order.job_id, "code": code, "complaint": complaint})
        raise InternalError("The answer could not be made; the log has the details under this request id.")
