"""Specs that an API key has sent before, byte for byte or but for their dataset: what was found is not found again.

Per API key, so that nobody sees in the time of an answer what another key has sent.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from api_schemas.spec import JobSpec
from job_store.ids import new_job_id
from job_store.records import NewJob
from service.checkers.checker import Given, Outline
from service.models.catalog import CatalogModel
from service.specs.frames import Frame

Value = TypeVar("Value")
BYTES_PER_KEY = 2**20
BYTES_IN_ALL = 2**24
BYTES_EACH = 4096
"""Of one spec, beside its texts."""
LARGEST_BYTES = 2**16
"""What takes more is found again."""
FRAMES_IN_ALL = 2**23
LARGEST_FRAME = 2**20
MOST_SEEN = 10_000
"""Frames that are recognised at their second time."""


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


class Remembered(Generic[Value]):
    """The latest of each key, within so many bytes per key and in all."""

    def __init__(self, bytes_per_key: int, bytes_in_all: int, largest: int) -> None:
        """What takes more than ``largest`` bytes is not kept."""
        self._limits = bytes_per_key, bytes_in_all, largest
        self._of_key: OrderedDict[str, OrderedDict[bytes, tuple[Value, int]]] = OrderedDict()
        self._bytes_of: dict[str, int] = {}
        self._bytes_in_all = 0

    def find(self, key: str, text: bytes, is_valid: Callable[[Value], bool]) -> Value | None:
        """What this key's same text gave, if that still holds."""
        own = self._of_key.get(key)
        if own is None or text not in own:
            return None
        known, _ = own[text]
        if not is_valid(known):
            self._forget(key, text)
            return None
        own.move_to_end(text)
        self._of_key.move_to_end(key)
        return known

    def remember(self, key: str, text: bytes, value: Value, size: int) -> None:
        """Keep it; the oldest are forgotten, of this key or of the key that has asked for nothing for longest."""
        self._forget(key, text)
        per_key, in_all, largest = self._limits
        if size > largest:
            return
        own = self._of_key.setdefault(key, OrderedDict())
        self._of_key.move_to_end(key)
        own[text] = value, size
        self._count(key, size)
        while self._bytes_of[key] > per_key:
            self._forget(key, next(iter(own)))
        while self._bytes_in_all > in_all:
            oldest = next(iter(self._of_key))
            self._forget(oldest, next(iter(self._of_key[oldest])))

    def _forget(self, key: str, text: bytes) -> None:
        own = self._of_key.get(key)
        if own is not None and text in own:
            self._count(key, -own.pop(text)[1])
            if not own:
                del self._of_key[key], self._bytes_of[key]

    def _count(self, key: str, size: int) -> None:
        self._bytes_of[key] = self._bytes_of.get(key, 0) + size
        self._bytes_in_all += size


class KnownSpecs:
    """By the whole body."""

    def __init__(self, model_of: Callable[[str], CatalogModel | None]) -> None:
        """``model_of`` says how a model's files are now."""
        self._model_of = model_of
        self._known: Remembered[KnownSpec] = Remembered(BYTES_PER_KEY, BYTES_IN_ALL, LARGEST_BYTES)

    def find(self, key: str, body: bytes) -> KnownSpec | None:
        """What this key's same body gave, if that still holds."""
        return self._known.find(key, body, lambda known: self._model_of(known.outline.model) is known.model)

    def remember(self, key: str, body: bytes, known: KnownSpec) -> None:
        """Keep it."""
        self._known.remember(key, body, known, known.size_with(body))


class KnownFrames:
    """By the body around its dataset."""

    def __init__(self, model_of: Callable[[str], CatalogModel | None]) -> None:
        """``model_of`` says how a model's files are now."""
        self._model_of = model_of
        self._known: Remembered[Frame] = Remembered(BYTES_PER_KEY, FRAMES_IN_ALL, LARGEST_FRAME)
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()

    def find(self, key: str, around: bytes) -> Frame | None:
        """What was found of this key's same frame, if that still holds."""
        return self._known.find(key, around, lambda frame: self._model_of(frame.spec.model.name) is frame.model)

    def is_again(self, key: str, around: bytes) -> bool:
        """Whether this was asked before: to keep each that comes once would push out the rest."""
        seen = key, hash(around)
        if seen in self._seen:
            return True
        self._seen[seen] = None
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)
        return False

    def remember(self, key: str, around: bytes, frame: Frame) -> None:
        """Keep it."""
        self._known.remember(key, around, frame, frame.size_with(around))
