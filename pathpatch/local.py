"""A private stack for a notebook or a script, in one ``with`` block.

>>> import pathpatch
>>> with pathpatch.local() as client:  # doctest: +SKIP
...     result = client.run(spec)
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pathpatch.stack.stack import Stack, StackSettings, default_cache_dir, default_data_dir, require_installed

if TYPE_CHECKING:
    from pathpatch.client import Client

__all__ = ["Stack", "StackSettings", "default_cache_dir", "default_data_dir", "local", "require_installed"]


@contextmanager
def local(
    data_dir: str | Path | None = None,
    *,
    workers: int = 1,
    device: str | None = None,
    port: int = 0,
    models: Mapping[str, str | Path] | None = None,
) -> "Iterator[Client]":
    """A private stack for a notebook or a script: starts broker, workers and service, and stops them at the end.

    It is private whatever the environment says of another: ``REDIS_URL`` is not for it, and of keys it needs
    ``PATHPATCH_ADMIN_KEY``, where that is set.

    Args:
        data_dir: Where jobs and results are kept; by default a temporary folder that goes with the stack.
        models: Local checkpoint folders by name, as ``PATHPATCH_MODELS`` registers them.

    Raises:
        StackFailed: It could not start; says why.
    """
    from pathpatch.client import Client

    folder = Path(data_dir).expanduser() if data_dir is not None else Path(tempfile.mkdtemp(prefix="pathpatch-"))
    registry = ",".join(f"{name}={Path(path).expanduser().resolve()}" for name, path in (models or {}).items())
    environment = {"PATHPATCH_MODELS": registry} if registry else {}
    cache = default_cache_dir() if data_dir is None else None
    settings = StackSettings(
        folder, port=port, workers=workers, device=device, redis_url=None, cache_dir=cache, environment=environment
    )
    try:
        with Stack(settings) as stack, Client(stack.url, os.environ.get("PATHPATCH_ADMIN_KEY")) as client:
            yield client
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
