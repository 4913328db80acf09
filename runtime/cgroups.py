"""Available memory, from which the local stack and the workers plan."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Folder of the container's limits: version 2, or version 1 with a folder for each resource."""


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """Physical memory, or the container's limit if that is smaller."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes")
    said = [file.read_text().strip() for file in files if file.is_file()]
    return min([physical, *(int(limit) for limit in said if limit.isdigit())])
