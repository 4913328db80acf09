"""Earlier address of the handles of jobs: now :mod:`pathpatch.client`."""

from pathpatch.client import AsyncJobHandle as AsyncJobHandle
from pathpatch.client import JobHandle as JobHandle
