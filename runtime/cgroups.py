"""How much memory there is: what the local stack and the workers, which do not know each other, both plan with."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Limits of a container, as Linux tells them inside it: version 2, or version 1 in a folder for each resource."""


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """Physical memory, or what the container may use of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes")
    said = [file.read_text().strip() for file in files if file.is_file()]
    return min([physical, *(int(limit) for limit in said if limit.isdigit())])
