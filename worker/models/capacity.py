"""Whether a model's weights fit the memory of a device, told before they are read."""

from pathlib import Path

import torch

from api_schemas.errors import UnusableModel
from planning.architecture import Architecture
from runtime.cgroups import memory_bytes
from worker.models.assembly import weight_bytes


def check_fits(folder: Path, architecture: Architecture, device: torch.device | str, dtype: torch.dtype) -> None:
    """Compare the memory of the weights with the device's.

    Raises:
        UnusableModel: They do not fit; says both numbers.
    """
    needed, there = weight_bytes(architecture, dtype), capacity(device)
    if needed <= there:
        return
    kind = str(dtype).removeprefix("torch.")
    hint = ": PATHPATCH_WEIGHTS_DTYPE=bfloat16 takes half" if dtype == torch.float32 and needed <= 2 * there else ""
    raise UnusableModel(
        str(folder), f"its weights take {needed / 1e9:.1f} GB as {kind}, and {device} has {there / 1e9:.1f} GB{hint}"
    )


def capacity(device: torch.device | str) -> int:
    """All memory of the device, or what a container may take of it."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_bytes()
