"""Limits of containers, and which GPUs a worker takes."""

import os
from pathlib import Path

import pytest

from runtime.cgroups import memory_bytes
from worker.process.device import working_memory
from worker.process.host import every_gpu, gpus, processor_limit, threads
from worker.settings import WorkerSettings

PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cgroup(folder: Path, files: dict[str, str]) -> Path:
    """A folder with the files that Linux shows in a container."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content + "\n")
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, PHYSICAL),
        ({"memory.max": "max"}, PHYSICAL),
        ({"memory.max": "1000000"}, 1_000_000),
        ({"memory/memory.limit_in_bytes": "2000000"}, 2_000_000),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, PHYSICAL),
    ],
)
def test_a_container_has_the_memory_that_its_limit_leaves(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """Working memory planned from the whole machine's would get the worker killed."""
    assert memory_bytes(cgroup(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
    ],
)
def test_a_container_has_the_processors_that_its_quota_pays_for(
    tmp_path: Path, files: dict[str, str], expected: int | None
) -> None:
    """A thread for each processor of the machine would only make them wait for each other."""
    assert processor_limit(cgroup(tmp_path, files)) == expected


def test_workers_that_share_a_machine_share_its_processors_and_memory(tmp_path: Path) -> None:
    """`pathpatch up --workers 4` plans with the memory once, not four times; a container's limits count here too."""
    container = cgroup(tmp_path, {"cpu.max": "800000 100000"})
    assert [threads(workers, container) for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert threads(1, tmp_path / "none") is None
    alone, shared = (working_memory(WorkerSettings(shared_by=workers), "cpu") for workers in (1, 64))
    assert shared == memory_bytes() // 4 // 64 < alone
    assert working_memory(WorkerSettings(shared_by=64, memory_bytes=1000), "cpu") == 1000


def test_here_the_files_of_linux_can_be_read() -> None:
    """Whatever limits this machine has."""
    assert 0 < memory_bytes() <= PHYSICAL and (processor_limit() or 1) >= 1


@pytest.mark.parametrize(
    ("devices", "count", "expected"),
    [
        (("auto",), 0, ("auto",)),
        (("auto",), 1, ("cuda:0",)),
        (("cuda",), 3, ("cuda:0", "cuda:1", "cuda:2")),
        (("cuda",), 0, ("cuda",)),
        (("cpu", "auto"), 2, ("cpu", "cuda:0", "cuda:1")),
        (("cpu", "cuda:1"), 4, ("cpu", "cuda:1")),
    ],
)
def test_a_worker_takes_every_gpu_unless_devices_are_named(
    devices: tuple[str, ...], count: int, expected: tuple[str, ...]
) -> None:
    """One child each; where there are none, the child says so, or takes the CPU."""
    assert every_gpu(devices, lambda: count) == expected


def test_gpus_are_counted_by_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a process of its own, and only where a driver is."""
    import torch

    monkeypatch.setattr("worker.process.host.DRIVERS", (str(tmp_path),))
    assert gpus() == torch.cuda.device_count()
