"""How fast each model's workers are: as measured on finished shards, and nominally by kind of device."""

import time
from dataclasses import dataclass

from job_store import workers
from job_store.store import AsyncJobStore

CPU_FLOPS_PER_SECOND = 4e10
CUDA_FLOPS_PER_SECOND = 2e13
"""Nominal rates by kind of device. Cuts follow these, never a measured rate, so that equal specs give equal bits."""
GPU_BEGINS_AT = 1e12
"""Measured rates above this are a GPU's."""
CPU = "cpu"
REMEMBERED_S = 5.0


@dataclass(frozen=True)
class Speed:
    """Of a model's workers, the slowest kind of which decides."""

    nominal: float
    expected: float
    """As measured; nominal before anything was."""

    @classmethod
    def of(cls, alive: set[str], rates: dict[str, float]) -> "Speed":
        """Of the devices that live workers have (``cpu``, ``cuda:0``), and the measured rates by a device's label."""
        has_cpu = CPU in alive if alive else CPU in rates or not rates
        if has_cpu and rates.get(CPU, 0.0) < GPU_BEGINS_AT:
            return cls(CPU_FLOPS_PER_SECOND, rates.get(CPU, CPU_FLOPS_PER_SECOND))
        own = [rate for device, rate in rates.items() if device != CPU or has_cpu]
        return cls(CUDA_FLOPS_PER_SECOND, min(own, default=CUDA_FLOPS_PER_SECOND))


class Speeds:
    """By model."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Speed]] = {}

    async def refresh(self, model: str) -> None:
        """Ask the store, unless it was asked a moment ago."""
        known = self._known.get(model)
        if known is None or time.monotonic() - known[0] > REMEMBERED_S:
            if known is not None:
                self._known[model] = (time.monotonic(), known[1])  # one request asks, and the others do not wait for it
            rates = await self._store.run(workers.rates(model))
            alive = {info.device for info in await self._store.run(workers.list_workers()) if model in info.serves}
            self._known[model] = (time.monotonic(), Speed.of(alive, rates))

    def of(self, model: str) -> Speed:
        """As last asked."""
        return self._known[model][1] if model in self._known else Speed.of(set(), {})
