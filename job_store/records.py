"""Records that go into the store and come out of it. Times ``*_ms`` are Unix milliseconds of the store's clock."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from api_schemas.jobs import TERMINAL, JobStatus
from api_schemas.spec import JobSpec
from job_store.schema import SCHEMA

Pairs = dict[str, bytes]


def when(ms: int) -> datetime:
    """A time of the store as a UTC datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def pairs(flat: list[bytes]) -> Pairs:
    """A reply of alternating names and values as a dict."""
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def text(value: bytes | None) -> str | None:
    """An optional value as text."""
    return None if value is None else value.decode()


def whole(value: bytes | None) -> int | None:
    """An optional value as a whole number."""
    return None if value is None else int(float(value))


@dataclass(frozen=True)
class JobFacts:
    """What a worker needs to know about a job besides its spec and its shard."""

    longest: int
    """Tokens of the longest prompt of the whole dataset."""
    examples: int
    """Examples of the whole dataset."""
    flops_per_shard: float
    """Estimated work of one shard, over all phases."""
    dataset_sha256: str
    spec_sha256: str
    revision: str
    """Revision of the model."""
    warnings: tuple[str, ...] = ()
    """Warnings of validation; they become events of the job."""
    phase_shares: tuple[float, ...] = ()
    """Estimated share of each phase in the work; their sum is 1. Empty: all phases are equal."""

    def to_json(self) -> str:
        """As the store keeps them."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, content: bytes) -> "JobFacts":
        """From what the store kept: fields that it lacks have their defaults, those of a newer version are left out."""
        fields = {name: value for name, value in json.loads(content).items() if name in cls.__dataclass_fields__}
        tuples = {name: tuple(fields.get(name, ())) for name in ("warnings", "phase_shares")}
        return cls(**{**fields, **tuples})


@dataclass(frozen=True)
class NewJob:
    """A job to create. Without shards, only an earlier result can answer it."""

    id: str
    spec: JobSpec
    facts: JobFacts
    shards: tuple[str, ...]
    """Each shard is a ``ResolvedDataset`` as JSON, which takes a tenth of its memory."""
    trace: dict[str, str] = field(default_factory=dict)
    """Trace context, passed on to the worker."""
    webhook_url: str | None = None
    result_bytes: int = 0
    """Estimated size of the result, which counts as stored until the true size is known."""
    spec_json: str = ""
    """The spec as it is stored, where that was written already; ``spec`` may then lack its dataset."""
    schema: int = SCHEMA
    """Workers that do not know it leave the job to others."""


@dataclass(frozen=True)
class Limits:
    """Limits of an API key; None is unlimited."""

    queued_jobs: int | None = None
    running_shards: int | None = None
    submits_per_minute: int | None = None
    compute_s_per_day: float | None = None
    store_bytes: int | None = None
    """Bytes of stored jobs and results."""

    def to_dict(self) -> dict[str, Any]:
        """The limits that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Retention:
    """How long a job is kept after its end."""

    result_s: float = 30 * 86400
    """How long its result is kept."""
    record_s: float = 60 * 86400
    """How long its record is kept, which says that there was a result."""


@dataclass(frozen=True)
class Idempotency:
    """A client's idempotency key for a request, and the digest of the request's body."""

    key: str
    body_sha256: str
    kept_s: float = 86400
    """How long it is remembered."""


@dataclass(frozen=True)
class Created:
    """The jobs that a request created, now or when it was first sent."""

    job_ids: tuple[str, ...]
    batch_id: str | None
    replayed: bool
    """Whether an earlier request with the same idempotency key created them."""
    cached: tuple[bool, ...]
    """Per job, whether an earlier result answers it."""
    record: "JobRecord | None" = None
    """Of a single job, as it is now; None where it was erased."""


@dataclass(frozen=True)
class JobRecord:
    """The current state of one job."""

    id: str
    owner: str
    status: JobStatus
    version: int
    """Changes whenever the job changes."""
    model: str
    priority: str
    spec_json: bytes
    tags: dict[str, str]
    facts_json: bytes
    created_ms: int
    done: int
    """Shards done, in all phases."""
    total: int
    """Total number of shards, in all phases."""
    attempt: int
    """Largest number of starts of any shard."""
    cached: bool
    now_ms: int
    """When the record was read."""
    batch_id: str | None = None
    started_ms: int | None = None
    computing_ms: int | None = None
    """When the computation of its first shard began; the model was loaded by then."""
    progressed_ms: int | None = None
    """When its latest shard was done."""
    finished_ms: int | None = None
    expires_ms: int | None = None
    """The job's deadline."""
    position: int | None = None
    """Number of jobs ahead of it while it is queued."""
    error_code: str | None = None
    error_detail: str | None = None
    result_bytes: int = 0
    result_expired: bool = False

    @property
    def is_done(self) -> bool:
        """Whether the state is final."""
        return self.status in TERMINAL

    @cached_property
    def spec(self) -> JobSpec:
        """The spec, parsed."""
        return JobSpec.model_validate_json(self.spec_json)

    @cached_property
    def spec_fields(self) -> dict[str, Any]:
        """The spec as JSON says it: for a look at a field or two, in a tenth of the time that parsing it takes."""
        return dict(json.loads(self.spec_json))

    @cached_property
    def facts(self) -> JobFacts:
        """What a worker needs to know besides."""
        return JobFacts.from_json(self.facts_json)

    @property
    def eta_s(self) -> float | None:
        """Estimated seconds left, from the pace so far; None before the first shard is done and after the end.

        The pace is that of the shards that are done, or what it becomes if the next one is done only now: meanwhile the
        estimate goes down with the clock, and grows again once that shard takes longer than those before.
        """
        if self.is_done or not self.done or self.computing_ms is None or self.progressed_ms is None:
            return None
        elapsed_ms = self.now_ms - self.computing_ms
        measured_ms = (self.progressed_ms - self.computing_ms) / self._work(self.done)
        least_ms = elapsed_ms / self._work(self.done + 1)
        return max(0.0, max(measured_ms, least_ms) - elapsed_ms) / 1000

    def _work(self, shards: int) -> float:
        """The share of the work that the first ``shards`` shards make up."""
        if shards >= self.total:
            return 1.0
        shares = self.facts.phase_shares or (1.0,)
        phase, part = divmod(shards * len(shares) / self.total, 1)
        return sum(shares[: int(phase)]) + shares[int(phase)] * part


def read_record(fields: Pairs, position: int, now_ms: int) -> JobRecord:
    """A record from the fields of its hash."""
    return JobRecord(
        id=fields["id"].decode(),
        owner=fields["owner"].decode(),
        status=fields["status"].decode(),  # type: ignore[arg-type]
        version=int(fields["version"]),
        model=fields["model"].decode(),
        priority=fields["priority"].decode(),
        spec_json=fields["spec"],
        tags=json.loads(fields["tags"]),
        facts_json=fields["facts"],
        created_ms=int(fields["created"]),
        done=int(fields["done"]),
        total=int(fields["shards"]) * int(fields["phases"]),
        attempt=int(fields["attempt"]),
        cached=fields["cached"] == b"1",
        now_ms=now_ms,
        batch_id=text(fields.get("batch")),
        started_ms=whole(fields.get("started")),
        computing_ms=whole(fields.get("computing")),
        progressed_ms=whole(fields.get("progressed")),
        finished_ms=whole(fields.get("finished")),
        expires_ms=whole(fields.get("deadline")),
        position=None if position < 0 else position,
        error_code=text(fields.get("error_code")),
        error_detail=text(fields.get("error_detail")),
        result_bytes=whole(fields.get("result_bytes")) or 0,
        result_expired="result_expired" in fields,
    )


def read_described(fields: list[bytes], position: int, now_ms: int) -> JobRecord:
    """A record as scripts describe it."""
    return read_record(pairs(fields), int(position), int(now_ms))


@dataclass(frozen=True)
class Page:
    """Part of a list, newest first."""

    records: tuple[JobRecord, ...]
    has_more: bool


@dataclass(frozen=True)
class StoredEvent:
    """One event of a job."""

    id: str
    type: str
    created_ms: int
    data: dict[str, Any]


@dataclass(frozen=True)
class EventPage:
    """Part of a job's events, oldest first."""

    events: tuple[StoredEvent, ...]
    has_more: bool
    is_done: bool
    """Whether the job has ended, so that no event follows."""


@dataclass(frozen=True)
class StoredResult:
    """A result as the worker stored it: JSON without arrays, and the arrays as safetensors."""

    head: bytes
    arrays: bytes


@dataclass(frozen=True)
class BatchRecord:
    """Jobs submitted together, with their states, without erased jobs."""

    id: str
    owner: str
    created_ms: int
    jobs: tuple[tuple[str, JobStatus], ...]
