"""Which version of pathpatch this is."""

from functools import cache
from importlib import metadata


@cache
def package_version() -> str:
    """Of the installed distribution; of a bare checkout, 0."""
    try:
        return metadata.version("pathpatch")
    except metadata.PackageNotFoundError:
        return "0"
