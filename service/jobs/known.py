"""Specs that an API key has sent before, byte for byte: what their check gave is not found again.

Per API key, so that nobody sees in the time of an answer what another key has sent.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from api_schemas.spec import JobSpec
from job_store.ids import new_job_id
from job_store.records import NewJob
from service.checkers.checker import Given, Outline
from service.models.catalog import CatalogModel

BYTES_PER_KEY = 2**20
BYTES_IN_ALL = 2**24
BYTES_EACH = 4096
"""Of one spec, beside its texts."""
LARGEST_BYTES = 2**16
"""What takes more is found again."""


@dataclass
class KnownSpec:
    """What the check of one body gave; it holds as long as its model's files are the same."""

    spec: JobSpec
    outline: Outline
    model: CatalogModel
    jobs: dict[tuple[bool, float], NewJob] = field(default_factory=dict)
    """By whether an earlier result answers, and the rate by which shards are cut."""

    def job(self, given: Given) -> NewJob | None:
        """The job to create, under a new id."""
        found = self.jobs.get(self._case(given))
        return None if found is None else replace(found, id=new_job_id(), trace=given.trace)

    def keep(self, given: Given, job: NewJob) -> None:
        """Have ``job`` give this from now on."""
        if job.webhook_url is None:  # whether that may be called is looked up each time
            self.jobs[self._case(given)] = job

    def _case(self, given: Given) -> tuple[bool, float]:
        return given.answered[0], given.speeds[self.outline.model].nominal

    def size_with(self, body: bytes) -> int:
        """Bytes that it takes, roughly."""
        texts = (text for job in self.jobs.values() for text in (job.spec_json, *job.shards))
        return BYTES_EACH + len(body) + sum(map(len, texts))


class KnownSpecs:
    """The latest of each key, within so many bytes per key and in all."""

    def __init__(self, model_of: Callable[[str], CatalogModel | None]) -> None:
        """``model_of`` says how a model's files are now."""
        self._model_of = model_of
        self._of_key: OrderedDict[str, OrderedDict[bytes, tuple[KnownSpec, int]]] = OrderedDict()
        self._bytes_of: dict[str, int] = {}
        self._bytes_in_all = 0

    def find(self, key: str, body: bytes) -> KnownSpec | None:
        """What this key's same body gave, if that still holds."""
        own = self._of_key.get(key)
        if own is None or body not in own:
            return None
        known, _ = own[body]
        if self._model_of(known.outline.model) is not known.model:
            self._forget(key, body)
            return None
        own.move_to_end(body)
        self._of_key.move_to_end(key)
        return known

    def remember(self, key: str, body: bytes, known: KnownSpec) -> None:
        """Keep it; the oldest are forgotten, of this key or of the key that has asked for nothing for longest."""
        self._forget(key, body)
        size = known.size_with(body)
        if size > LARGEST_BYTES:
            return
        own = self._of_key.setdefault(key, OrderedDict())
        self._of_key.move_to_end(key)
        own[body] = known, size
        self._count(key, size)
        while self._bytes_of[key] > BYTES_PER_KEY:
            self._forget(key, next(iter(own)))
        while self._bytes_in_all > BYTES_IN_ALL:
            oldest = next(iter(self._of_key))
            self._forget(oldest, next(iter(self._of_key[oldest])))

    def _forget(self, key: str, body: bytes) -> None:
        own = self._of_key.get(key)
        if own is not None and body in own:
            self._count(key, -own.pop(body)[1])
            if not own:
                del self._of_key[key], self._bytes_of[key]

    def _count(self, key: str, size: int) -> None:
        self._bytes_of[key] = self._bytes_of.get(key, 0) + size
        self._bytes_in_all += size
