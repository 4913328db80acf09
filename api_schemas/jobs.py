"""Jobs, their events, and lists and reports about them."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field

from api_schemas.errors import Problem
from api_schemas.frozen import Flag, Frozen
from api_schemas.nodes import Node
from api_schemas.spec import JobSpec

JobStatus = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"]
TERMINAL: frozenset[JobStatus] = frozenset({"succeeded", "failed", "cancelled", "expired"})

JobId = Annotated[str, Field(examples=["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
Timestamp = Annotated[datetime, Field(examples=["2026-11-23T09:30:00Z"])]
OptionalTimestamp = Annotated[datetime | None, Field(examples=["2026-11-23T09:30:01Z"])]


class Progress(Frozen):
    """How many shards of a job are done."""

    done: Annotated[int, Field(ge=0, examples=[3])]
    """Units done."""
    total: Annotated[int, Field(ge=0, examples=[8])]
    """Total number of units."""
    unit: Annotated[str, Field(examples=["shard"])] = "shard"
    """The unit."""
    eta_s: Annotated[float | None, Field(examples=[12.5])] = None
    """Estimated seconds left, from the pace so far; null before the first shard is done."""


class Queue(Frozen):
    """A queued job's position."""

    position: Annotated[int | None, Field(examples=[2])] = None
    """Number of jobs of the same model ahead of it; null once running."""


class Links(Frozen):
    """Paths of the job and its parts."""

    self: Annotated[str, Field(examples=["/v1/jobs/job_01JZ"])]
    """The job."""
    result: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/result"])]
    """Its result."""
    events: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/events"])]
    """Its events."""
    figure: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/figure"])]
    """Its result as a figure."""
    cancel: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/cancel"])]
    """POST here to cancel the job."""


class Job(Frozen):
    """One accepted experiment."""

    id: JobId
    """Identifier."""
    object: Literal["job"] = "job"
    """Always `job`."""
    status: Annotated[JobStatus, Field(examples=["running"])]
    """State; `succeeded failed cancelled expired` are final."""
    done: Flag
    """Whether the state is final."""
    created_at: Timestamp
    """When it was accepted."""
    started_at: OptionalTimestamp = None
    """When its first shard was claimed."""
    finished_at: OptionalTimestamp = None
    """When it ended."""
    progress: Progress
    """Progress of the job."""
    queue: Queue
    """Position in the queue."""
    attempt: Annotated[int, Field(ge=0, examples=[1])]
    """Largest number of attempts of any of its shards so far."""
    model: Annotated[str, Field(examples=["gpt2-small"])]
    """Model name."""
    tags: Annotated[dict[str, str], Field(examples=[{"experiment": "negative-name-movers"}])]
    """Labels given in the spec."""
    spec: JobSpec
    """The spec with its defaults filled in."""
    error: Problem | None = None
    """Why the job failed."""
    cached: Flag
    """Whether the result comes from an earlier job with an equal spec."""
    links: Links
    """Paths of the job and its parts."""


class JobEvent(Frozen):
    """One event of a job."""

    id: Annotated[str, Field(examples=["1732354200000-0"])]
    """Increasing identifier, for `Last-Event-ID`."""
    object: Literal["event"] = "event"
    """Always `event`."""
    type: Annotated[Literal["status", "progress", "warning"], Field(examples=["status"])]
    """Kind of event."""
    created_at: Timestamp
    """When it happened."""
    data: Annotated[dict[str, Any], Field(examples=[{"status": "running"}])]
    """`status`: the new state; `progress`: done and total; `warning`: a message."""


Item = TypeVar("Item")


class ListOf(Frozen, Generic[Item]):
    """One page of a list, newest first."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[Item]
    """The page."""
    has_more: Flag
    """Whether another page follows: pass the last item's id as `after`."""


class ExamplePrompt(Frozen):
    """One pair of prompts as the model reads it."""

    orig: Annotated[list[str], Field(examples=[["When", " Mary"]])]
    """Tokens of the orig prompt, as text."""
    new: Annotated[list[str], Field(examples=[["When", " Anna"]])]
    """Tokens of the new prompt, as text."""
    roles: Annotated[dict[str, int], Field(examples=[{"IO": 1}])]
    """Position of each role."""
    answers: Annotated[dict[str, str | list[str]], Field(examples=[{"IO": " Mary"}])]
    """Each answer's token, or the tokens of its set, as text."""


class ValidationReport(Frozen):
    """What a spec would run, without running it."""

    object: Literal["validation"] = "validation"
    """Always `validation`."""
    spec: JobSpec
    """The spec with its defaults filled in."""
    examples: list[ExamplePrompt]
    """The first prompts."""
    cells: Annotated[int, Field(examples=[144])]
    """Number of cells."""
    axes: Annotated[list[str], Field(examples=[["sender_layer", "sender_head"]])]
    """Axes of the result."""
    shape: Annotated[list[int], Field(examples=[[12, 12]])]
    """Length of each axis."""
    shards: Annotated[int, Field(examples=[4])]
    """Number of shards of the job."""
    estimated_seconds: Annotated[float | None, Field(examples=[3.5])] = None
    """Estimated seconds of work at the speed measured on this model's workers; rough before any measurement."""
    estimated_result_bytes: Annotated[int, Field(examples=[1234])]
    """Approximate size of the result as JSON."""
    warnings: Annotated[list[str], Field(examples=[["sender z 11.0 reaches no receiver"]])]
    """Likely mistakes: unreachable senders, orig equal to new, equal answers."""
    unreachable_senders: Annotated[list[Node], Field(examples=[[]])]
    """Senders from which no path leads to any receiver."""


class BatchRequest(Frozen):
    """Several jobs to submit; all are accepted or none."""

    jobs: Annotated[list[JobSpec], Field(min_length=1, max_length=1000)]
    """The specs."""


class Batch(Frozen):
    """Several jobs submitted together."""

    id: Annotated[str, Field(examples=["batch_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"])]
    """Identifier."""
    object: Literal["batch"] = "batch"
    """Always `batch`."""
    created_at: Timestamp
    """When it was accepted."""
    done: Flag
    """Whether every job has ended."""
    counts: Annotated[dict[str, int], Field(examples=[{"succeeded": 3, "running": 1}])]
    """Jobs by state."""
    jobs: Annotated[list[JobId], Field(examples=[["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E"]])]
    """The jobs, in the order given."""


class WorkerInfo(Frozen):
    """One worker process, as described by its last heartbeat."""

    id: Annotated[str, Field(examples=["worker-1@lab-gpu-3"])]
    """Name."""
    object: Literal["worker"] = "worker"
    """Always `worker`."""
    device: Annotated[str, Field(examples=["cuda:0"])]
    """Device it computes on."""
    models: Annotated[list[str], Field(examples=[["gpt2-small"]])]
    """Models that it holds in memory."""
    serves: Annotated[list[str], Field(examples=[["gpt2-small", "demo"]])]
    """Models that it serves."""
    memory_bytes: Annotated[int | None, Field(examples=[2_500_000_000])] = None
    """Resident memory of its child process."""
    device_memory_bytes: Annotated[int | None, Field(examples=[None])] = None
    """Allocated memory of its GPU."""
    running: Annotated[str | None, Field(examples=["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E/0/3"])] = None
    """Job, phase and shard that it runs now; `a job` if the job belongs to another API key."""
    seen_at: Timestamp
    """Last heartbeat."""


class ComponentHealth(Frozen):
    """One component's health."""

    ok: Flag
    """Whether it works."""
    detail: Annotated[str, Field(examples=["answered in 0.4 ms"])]
    """Why, or why not."""


class Readiness(Frozen):
    """Health by component."""

    ready: Flag
    """Whether jobs can be accepted."""
    components: Annotated[
        dict[str, ComponentHealth], Field(examples=[{"store": {"ok": True, "detail": "answered in 0.4 ms"}}])
    ]
    """`store`, `workers`, ..."""
