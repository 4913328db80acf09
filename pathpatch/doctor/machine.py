"""This machine: what is installed, its devices, its disk, and who may read the data folder."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pathpatch.doctor.finding import Finding
from pathpatch.version import __version__

PARTS = {"service": ("uvicorn", "fastapi", "tokenizers"), "worker": ("celery", "torch", "transformer_lens")}
"""Packages by which an extra of pathpatch is known to be installed."""
LITTLE_DISK_BYTES, NO_DISK_BYTES = 5 << 30, 512 << 20
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
DEVICES_S = 120.0
DEVICES = """
import json, torch
found = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
for index in range(len(found)):
    torch.zeros(1, device=f"cuda:{index}")
print(json.dumps({"torch": torch.__version__, "gpus": found, "threads": torch.get_num_threads()}))
"""


def examine(data_dir: Path) -> Iterator[Finding]:
    """Everything that can be seen without a service."""
    yield _installed()
    if find_spec("torch") is not None:
        yield _devices()
    yield _disk(data_dir)
    if data_dir.exists():
        yield _privacy(data_dir)


def _installed() -> Finding:
    parts = [part for part, packages in PARTS.items() if all(map(find_spec, packages))]
    named = ", ".join(["client", *parts])
    return Finding("versions", "ok", f"pathpatch {__version__} ({named}), Python {platform.python_version()}")


def _devices() -> Finding:
    """Another process is asked: torch takes seconds, and a broken driver may end it."""
    command = [sys.executable, "-c", DEVICES]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=DEVICES_S)  # noqa: S603
        found = json.loads(run.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return Finding("devices", "fault", "torch broke down as it looked for devices", "run: python -c 'import torch'")
    if found["gpus"]:
        return Finding("devices", "ok", f"torch {found['torch']}, {', '.join(found['gpus'])}")
    detail = f"torch {found['torch']}, no GPU, {found['threads']} CPU threads"
    if any(map(os.path.exists, DRIVERS)):
        advice = (
            "a GPU's driver is there, and torch does not see it: install a torch for it (make setup TORCH_INDEX=URL)"
        )
        return Finding("devices", "warning", detail, advice)
    return Finding("devices", "ok", detail)


def _disk(data_dir: Path) -> Finding:
    place = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        advice = f"let this user write there, or set PATHPATCH_DATA_DIR to a folder of its own (now {data_dir})"
        return Finding("disk", "fault", f"{place} cannot be written by this user", advice)
    free = shutil.disk_usage(place).free
    detail = f"{free / 1e9:.1f} GB free for {data_dir}"
    advice = "free some space, or set PATHPATCH_DATA_DIR to a larger disk: a full disk refuses new jobs"
    if free < NO_DISK_BYTES:
        return Finding("disk", "fault", detail, advice)
    return Finding("disk", "warning", detail, advice) if free < LITTLE_DISK_BYTES else Finding("disk", "ok", detail)


def _privacy(data_dir: Path) -> Finding:
    mode = data_dir.stat().st_mode & 0o777
    if mode & 0o077:
        advice = f"run: chmod 700 {data_dir}"
        return Finding("permissions", "warning", f"others may look into {data_dir} (mode {mode:o})", advice)
    return Finding("permissions", "ok", f"only this user can read {data_dir}")
