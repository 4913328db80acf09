"""Whether a model's weights fit the memory of a device, told before they are read."""

from pathlib import Path

import torch

from api_schemas.errors import UnusableModel
from checkpoints.files import UnusableCheckpoint
from checkpoints.tensors import read_header
from planning.architecture import Architecture
from runtime.cgroups import memory_bytes
from worker.engine.model import FUSED
from worker.models.assembly import weight_bytes


def check_fits(folder: Path, architecture: Architecture, device: torch.device | str, dtype: torch.dtype) -> None:
    """Compare the memory of the weights with the device's.

    Raises:
        UnusableModel: They do not fit; says both numbers.
    """
    kind, is_float32 = str(dtype).removeprefix("torch."), dtype == torch.float32
    _compare(str(folder), weight_bytes(architecture, dtype), device, f"weights take {{}} as {kind}", is_float32)


def check_file_fits(name: str, path: Path, device: torch.device | str) -> None:
    """The same of a file of processed weights, which is not there the first time.

    Raises:
        UnusableModel: They do not fit.
    """
    try:
        tensors = read_header(path)
    except (FileNotFoundError, UnusableCheckpoint):  # none, or a damaged one, which is written anew
        return
    needed = sum((tensor.stop - tensor.start) * (2 if one in FUSED else 1) for one, tensor in tensors.items())
    _compare(name, needed, device, "processed weights take {}", False)


def _compare(where: str, needed: int, device: torch.device | str, what: str, can_be_halved: bool) -> None:
    there = capacity(device)
    if needed <= there:
        return
    hint = ": PATHPATCH_WEIGHTS_DTYPE=bfloat16 takes half" if can_be_halved and needed <= 2 * there else ""
    took = what.format(f"{needed / 1e9:.1f} GB")
    raise UnusableModel(where, f"its {took}, and {device} has {there / 1e9:.1f} GB{hint}")


def capacity(device: torch.device | str) -> int:
    """All memory of the device, or what a container may take of it."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_bytes()
