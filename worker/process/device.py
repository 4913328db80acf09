"""The device of a worker's child."""

import os

import torch

from runtime.cgroups import memory_bytes
from worker.settings import GIB, WorkerSettings

CPU_SHARE = 0.25
GPU_SHARE = 0.6


def resolve(name: str) -> str:
    """The device meant: ``auto`` is the CPU where there is no GPU.

    Raises:
        RuntimeError: There is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    resolved = "cuda:0" if name == "cuda" else name
    torch.zeros(1, device=resolved)
    return resolved


def label(device: str) -> str:
    """What the device is, for provenance and measured rates: one label for all devices of a kind."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"


def working_memory(settings: WorkerSettings, device: str) -> int:
    """Bytes that one shard may use beside the weights, where several workers share the machine a part of them."""
    if settings.memory_bytes:
        return settings.memory_bytes
    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * GPU_SHARE) // settings.shared_by
    return min(4 * GIB, int(memory_bytes() * CPU_SHARE) // settings.shared_by)


def resident_bytes() -> int | None:
    """Memory of this process, where the system tells."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def allocated_bytes(device: str) -> int | None:
    """Allocated memory of the GPU; None on a CPU."""
    return int(torch.cuda.memory_allocated(device)) if device.startswith("cuda") else None


def is_broken(error: BaseException) -> bool:
    """Whether an error leaves the device's context unusable, so that the process must end."""
    is_accelerator_error = isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError)
    return is_accelerator_error or "CUDA error" in str(error) or "device-side assert" in str(error)
