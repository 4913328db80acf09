"""What a result says about the software that made it."""

import platform
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from api_schemas.errors import UnusableModel
from api_schemas.spec import JobSpec


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


def check_arithmetic(spec: JobSpec, held: torch.dtype) -> None:
    """Whether the job's arithmetic is that of the weights which this worker holds.

    Raises:
        UnusableModel: It is not: the numbers would be less exact than the job says.
    """
    if held == torch.bfloat16 and spec.dtype != "bfloat16":
        reason = "this worker holds weights in bfloat16 (PATHPATCH_WEIGHTS_DTYPE)"
        raise UnusableModel(spec.model.name, f"{reason}, and the job asks for {spec.dtype}: ask for dtype bfloat16")


def dtype_warnings(spec: JobSpec, devices: Sequence[str]) -> Iterator[str]:
    """An arithmetic that the devices do not have."""
    if spec.dtype == "tf32" and "cpu" in devices:
        yield "dtype 'tf32' exists on GPUs only: what ran on the cpu is float32"
