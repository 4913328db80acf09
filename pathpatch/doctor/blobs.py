"""The place of large contents: whether it can be written, has room, and is the one that the store remembers."""

import os
from collections.abc import Iterator, Mapping

from api_schemas.errors import PathPatchingError
from pathpatch.doctor.finding import Finding

CHECK = "blobs"
AWAY = "mount the folder, or check the bucket's name, AWS_ENDPOINT_URL and the keys"


def examine(environment: Mapping[str, str], broker_url: str | None) -> Iterator[Finding]:
    """Write a blob, read it and erase it, where ``PATHPATCH_BLOBS`` says."""
    if not environment.get("PATHPATCH_BLOBS"):
        yield Finding(CHECK, "ok", "PATHPATCH_BLOBS is not set: large contents are in the broker's memory")
        return
    from blob_store.place import BlobStore

    try:
        blobs = BlobStore.read(environment)
    except ValueError as exc:
        yield Finding(CHECK, "fault", str(exc), "correct it: service and workers do not start with it")
        return
    assert blobs is not None
    name = f"work/doctor-{os.getpid()}"
    try:
        blobs.check_room()
        blobs.put(name, b"doctor")
        is_whole = blobs.get(name) == b"doctor"
        blobs.drop([name])
        here = blobs.identity(is_new=False)
    except PathPatchingError as exc:
        yield Finding(
            CHECK, "fault", f"{blobs.url}: {exc.detail}", AWAY if exc.code == "store_unavailable" else "free room"
        )
        return
    known = _known(broker_url)
    if known is not None and known != here:
        advice = "name the same place for service and workers, or bring its contents along; see docs/deploy.md"
        yield Finding(
            CHECK, "fault", f"{blobs.url} is not the place that the broker's jobs have their contents in", advice
        )
    elif not is_whole:
        yield Finding(CHECK, "fault", f"{blobs.url} gave back something else than was written", "check its disk")
    else:
        yield Finding(CHECK, "ok", f"{blobs.url} can be written and read")


def _known(broker_url: str | None) -> str | None:
    """The name of the place on record, if a broker answers."""
    from job_store.store import JobStore, blob_place

    if broker_url is None:
        return None
    store = JobStore.connect(broker_url)
    try:
        known = store.run(blob_place())
    except PathPatchingError:
        return None
    finally:
        store.close()
    return None if known is None else known.decode()
