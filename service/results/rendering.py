"""Large results and all figures are made by a short-lived process, which reads the store itself.

Neither their numbers nor Plotly and Matplotlib ever enter the memory of the service; what comes out waits on disk.
"""

import gzip
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any, cast

import orjson

from api_schemas.errors import DamagedData, ResultExpired, StoreUnavailable
from blob_store.place import BlobStore
from job_store import jobs
from job_store.store import JobStore
from service.results import drawing, formats

READY = "--ready"
"""Imports everything before the order comes."""
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

    if READY in sys.argv:
        drawing.get_ready()
    if not (content := sys.stdin.buffer.read()):
        return 0  # the service has ended, and nothing was ordered
    order = Order(**orjson.loads(content))
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
