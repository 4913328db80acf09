"""Large results and all figures are made by a short-lived process, which reads the store itself.

Neither their numbers nor Plotly and Matplotlib ever enter the memory of the service; what comes out waits on disk.
"""

import asyncio
import gzip
import logging
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import IO, Any, cast

import orjson

from api_schemas.errors import DamagedData, InternalError, InvalidParameter, ResultExpired, StoreUnavailable
from blob_store.place import BlobStore
from job_store import jobs
from job_store.store import JobStore
from service.results import drawing, formats

LOGGER = logging.getLogger("service.results.rendering")
TIMEOUT_S = 120.0
COMPRESSION = 5
DOES_NOT_FIT, GONE, NO_STORE, UNFIT_LOOK, DAMAGED = 3, 4, 5, 6, 7


@dataclass(frozen=True)
class Order:
    """What is to be made of which job."""

    job_id: str
    media: str
    is_gzipped: bool
    figure: dict[str, Any] | None = None
    """Its options (kind, block, title, ...), if a figure is ordered."""
    prompt_tokens: list[str] | None = None
    circuit: int = 0
    """Which of the job's, where the format holds one."""


async def render(redis_url: str, order: Order) -> IO[bytes]:
    """A file with what was ordered, open at its beginning; it is gone once closed.

    Raises:
        InvalidParameter: The result cannot fill that kind of figure.
        ResultExpired, DamagedData, StoreUnavailable, InternalError: There is nothing to show.
    """
    with ExitStack() as stack:
        file = cast("IO[bytes]", stack.enter_context(tempfile.TemporaryFile()))
        code, complaint = await _run(redis_url, order, file)
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
        stack.pop_all()
        file.seek(0)
        return file


async def _run(redis_url: str, order: Order, file: IO[bytes]) -> tuple[int, str]:
    """Exit code and standard error of the process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "service.results.rendering"),
        stdin=asyncio.subprocess.PIPE,
        stdout=file,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "REDIS_URL": redis_url},
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            _, complaint = await process.communicate(orjson.dumps(asdict(order)))
    except TimeoutError:
        return -1, f"not done after {TIMEOUT_S:g} s"
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, complaint.decode(errors="replace").strip()


def _make(order: Order, store: JobStore, out: IO[bytes]) -> None:
    """In the child, which alone holds the result or imports Plotly or Matplotlib."""
    record, stored = store.run(jobs.get(order.job_id)), store.run(jobs.result(order.job_id))
    if stored is None:
        raise ResultExpired(order.job_id)
    if order.figure is not None:
        whole = formats.encode(stored, record, formats.JSON)
        out.write(drawing.draw(whole, record.spec_json, order.prompt_tokens, order.media, order.figure))
    else:
        formats.write(stored, record, order.media, out, order.circuit)


def main() -> int:
    """Read the order from standard input, write what was ordered to standard output, a file."""
    from pathpatch.drawing.charting import FigureDoesNotFit
    from pathpatch.drawing.look import UnfitLook

    order = Order(**orjson.loads(sys.stdin.buffer.read()))
    store = JobStore.connect(os.environ["REDIS_URL"], BlobStore.read(os.environ))
    with ExitStack() as stack:
        out: IO[bytes] = sys.stdout.buffer
        if order.is_gzipped:
            zipped = stack.enter_context(gzip.GzipFile(fileobj=out, mode="wb", compresslevel=COMPRESSION, mtime=0))
            out = cast("IO[bytes]", zipped)
        try:
            _make(order, store, out)
        except ResultExpired:
            return GONE
        except StoreUnavailable as exc:
            sys.stderr.write(exc.detail)
            return NO_STORE
        except DamagedData as exc:
            sys.stderr.write(exc.detail)
            return DAMAGED
        except FigureDoesNotFit as exc:
            sys.stderr.write(str(exc))
            return DOES_NOT_FIT
        except UnfitLook as exc:
            sys.stderr.write(str(exc))
            return UNFIT_LOOK
    return 0


if __name__ == "__main__":
    sys.exit(main())
