"""Which version of pathpatch this is."""

import hashlib
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

DRAWING = Path(__file__).with_name("datasets")


@cache
def package_version() -> str:
    """Of the installed distribution; of a bare checkout, 0."""
    try:
        return metadata.version("pathpatch")
    except metadata.PackageNotFoundError:
        return "0"


@cache
def software_sha256() -> str:
    """Digest of what a result depends on beside its spec and its model.

    That is the version, the code and word lists that draw data sets, and the generators of random numbers below them.
    """
    sources = (path.read_bytes() for path in sorted(DRAWING.glob("*.py")))
    versions = f"{package_version()} {platform.python_version()} {metadata.version('numpy')}"
    return hashlib.sha256(b"".join([versions.encode(), *sources])).hexdigest()
