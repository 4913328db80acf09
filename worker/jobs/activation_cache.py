"""Activations that a worker keeps from job to job."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from worker.engine.runs import Activations


class ActivationCache:
    """Activations of recent prompts, least recently used first out, bounded in bytes.

    A researcher's next question on the same prompts then costs only the patch. Of a job with too many prompts the first
    are kept: if the last displaced them, none would be found when the next job asks for the first.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        """Memory held at the last ``get``."""
        self._entries: OrderedDict[Hashable, Activations] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._job: Hashable = None
        self._of_job: set[Hashable] = set()

    def get(
        self, key: Hashable, make: Callable[[], Activations], job: Hashable = None, n_bytes: int = 0
    ) -> Activations | None:
        """The activations under ``key``, made if they are not known; they count as used now.

        Only what was got last may grow, so that a call takes as long however many others are kept.

        Args:
            job: Whose prompts these are.
            n_bytes: What the activations may grow to.

        Returns:
            None if they are not known, and find no room beside those of the same job.
        """
        if self._entries:
            self._measure(next(reversed(self._entries)))
        if key in self._entries:
            self._entries.move_to_end(key)
        while self.n_bytes > self.max_bytes:
            forgotten, _ = self._entries.popitem(last=False)
            self.n_bytes -= self._sizes.pop(forgotten)
        if job != self._job:
            self._job, self._of_job = job, set()
        if key not in self._entries:
            if sum(self._sizes.get(own, 0) for own in self._of_job) + n_bytes > self.max_bytes:
                return None
            self._entries[key] = make()
        self._of_job.add(key)
        self._measure(key)
        return self._entries[key]

    def _measure(self, key: Hashable) -> None:
        size = self._entries[key].n_bytes
        self.n_bytes += size - self._sizes.get(key, 0)
        self._sizes[key] = size
