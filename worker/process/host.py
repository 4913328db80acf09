"""What this process may use of its machine: processor time as its container limits it, and GPUs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path

from runtime.cgroups import CGROUP

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Without any of these there is no GPU: NVIDIA's driver, the one of Windows' subsystem for Linux, AMD's."""
COUNT = "import torch; print(torch.cuda.device_count())"


def processor_limit(cgroup: Path = CGROUP) -> int | None:
    """Processors whose time the container may take, rounded up; None where that is not limited."""
    version_1 = [*_numbers(cgroup / "cpu" / "cpu.cfs_quota_us"), *_numbers(cgroup / "cpu" / "cpu.cfs_period_us")]
    for limit in (list(_numbers(cgroup / "cpu.max")), version_1):
        if len(limit) == 2 and min(limit) > 0:
            return ceil(limit[0] / limit[1])
    return None


def threads(shared_by: int, cgroup: Path = CGROUP) -> int | None:
    """CPU threads for one of so many workers that share the machine; None leaves the number to torch."""
    limit = processor_limit(cgroup)
    return limit if shared_by == 1 else max(1, (limit or os.cpu_count() or 1) // shared_by)


def _numbers(file: Path) -> Iterator[int]:
    """The numbers that a file states; ``max``, for no limit, is none."""
    words = file.read_text().split() if file.is_file() else []
    return (int(word) for word in words if word.lstrip("-").isdigit())


def gpus() -> int:
    """Number of GPUs that torch sees; another process is asked, since CUDA must not meet a fork of this one."""
    if not any(map(os.path.exists, DRIVERS)):
        return 0
    answer = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)  # noqa: S603
    return int(answer.stdout) if answer.returncode == 0 else 0


def every_gpu(devices: tuple[str, ...], count: Callable[[], int] = gpus) -> tuple[str, ...]:
    """The devices with ``auto`` and ``cuda`` replaced by all GPUs; without any they stay, for the child to judge."""
    if not {"auto", "cuda"} & set(devices):
        return devices
    found = tuple(f"cuda:{index}" for index in range(count()))
    return tuple(name for device in devices for name in ((device in ("auto", "cuda") and found) or (device,)))
