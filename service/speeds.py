"""How fast each model's workers are, as measured on finished shards; asked of the store now and then."""

import time

from job_store import workers
from job_store.store import AsyncJobStore

ROUGH_FLOPS_PER_SECOND = 2e10
"""Of a CPU core or two: assumed until a worker has finished a shard of the model."""
REMEMBERED_S = 5.0


class Speeds:
    """Floating-point operations per second, by model."""

    def __init__(self, store: AsyncJobStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float, dict[str, float]]] = {}

    async def refresh(self, model: str) -> None:
        """Ask the store, unless it was asked a moment ago."""
        known = self._known.get(model)
        if known is None or time.monotonic() - known[0] > REMEMBERED_S:
            self._known[model] = (time.monotonic(), await self._store.run(workers.rates(model)))

    def measured(self, model: str) -> float | None:
        """The slowest kind of device that serves the model; None before any was measured."""
        rates = self._known.get(model, (0.0, {}))[1]
        return min(rates.values(), default=None)

    def of(self, model: str) -> float:
        """The same, or a rough figure."""
        return self.measured(model) or ROUGH_FLOPS_PER_SECOND
