"""What a result says about the software that made it."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@cache
def versions() -> dict[str, str]:
    """Versions of everything that may change a number."""
    packages = ("pathpatch", "torch", "transformer-lens")
    return {package: _version(package) for package in packages} | {"python": platform.python_version()}
