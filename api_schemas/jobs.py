"""Jobs and the lists, events and reports around them."""

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
    """Shards done, of all."""

    done: Annotated[int, Field(ge=0, examples=[3])]
    """Units finished."""
    total: Annotated[int, Field(ge=0, examples=[8])]
    """Units in all."""
    unit: Annotated[str, Field(examples=["shard"])] = "shard"
    """What is counted."""
    eta_s: Annotated[float | None, Field(examples=[12.5])] = None
    """Estimated seconds left, at the pace so far; null before the first shard is done."""


class Queue(Frozen):
    """Where a queued job stands."""

    position: Annotated[int | None, Field(examples=[2])] = None
    """Jobs of the same model that are ahead; null once running."""


class Links(Frozen):
    """Paths of everything about the job."""

    self: Annotated[str, Field(examples=["/v1/jobs/job_01JZ"])]
    """The job."""
    result: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/result"])]
    """Its result."""
    events: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/events"])]
    """Its events."""
    figure: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/figure"])]
    """Its result as a figure."""
    cancel: Annotated[str, Field(examples=["/v1/jobs/job_01JZ/cancel"])]
    """POST here to cancel it."""


class Job(Frozen):
    """One accepted experiment."""

    id: JobId
    """Identifier."""
    object: Literal["job"] = "job"
    """Always `job`."""
    status: Annotated[JobStatus, Field(examples=["running"])]
    """State; `succeeded failed cancelled expired` are terminal and never change."""
    done: Flag
    """Whether the state is terminal."""
    created_at: Timestamp
    """When it was accepted."""
    started_at: OptionalTimestamp = None
    """When its first shard was claimed."""
    finished_at: OptionalTimestamp = None
    """When it ended."""
    progress: Progress
    """How far it is."""
    queue: Queue
    """Where it stands while queued."""
    attempt: Annotated[int, Field(ge=0, examples=[1])]
    """Largest number of attempts that any of its shards needed so far."""
    model: Annotated[str, Field(examples=["gpt2-small"])]
    """Model name."""
    tags: Annotated[dict[str, str], Field(examples=[{"experiment": "negative-name-movers"}])]
    """Labels given in the spec."""
    spec: JobSpec
    """The spec, defaults filled in."""
    error: Problem | None = None
    """Why it failed."""
    cached: Flag
    """Whether an equal spec's earlier result answered."""
    links: Links
    """Where to go next."""


class JobEvent(Frozen):
    """One thing that happened to a job."""

    id: Annotated[str, Field(examples=["1732354200000-0"])]
    """Increasing identifier, for `Last-Event-ID`."""
    object: Literal["event"] = "event"
    """Always `event`."""
    type: Annotated[Literal["status", "progress", "warning"], Field(examples=["status"])]
    """What kind of event."""
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
    """One pair of prompts as the model will read it."""

    orig: Annotated[list[str], Field(examples=[["When", " Mary"]])]
    """Tokens of the orig prompt, as text."""
    new: Annotated[list[str], Field(examples=[["When", " Anna"]])]
    """Tokens of the new prompt, as text."""
    roles: Annotated[dict[str, int], Field(examples=[{"IO": 1}])]
    """Position of each role."""
    answers: Annotated[dict[str, str], Field(examples=[{"IO": " Mary"}])]
    """Each answer's token, as text."""


class ValidationReport(Frozen):
    """What would happen to a spec, without queueing it."""

    object: Literal["validation"] = "validation"
    """Always `validation`."""
    spec: JobSpec
    """The spec, defaults filled in."""
    examples: list[ExamplePrompt]
    """The first prompts."""
    cells: Annotated[int, Field(examples=[144])]
    """Number of cells."""
    axes: Annotated[list[str], Field(examples=[["sender_layer", "sender_head"]])]
    """Axes of the result."""
    shape: Annotated[list[int], Field(examples=[[12, 12]])]
    """Length of each axis."""
    shards: Annotated[int, Field(examples=[4])]
    """Number of shards the job would be cut into."""
    estimated_seconds: Annotated[float | None, Field(examples=[3.5])] = None
    """Seconds of work at the rate measured on this model's workers, or a rough figure before any was."""
    estimated_result_bytes: Annotated[int, Field(examples=[1234])]
    """Size of the JSON result, roughly."""
    warnings: Annotated[list[str], Field(examples=[["sender z 11.0 reaches no receiver"]])]
    """What is probably not meant: unreachable senders, orig equal to new, equal answers."""
    unreachable_senders: Annotated[list[Node], Field(examples=[[]])]
    """Senders from which no path leads to any receiver."""


class BatchRequest(Frozen):
    """Several jobs, accepted all or none."""

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
    """One worker process, as its last heartbeat described it."""

    id: Annotated[str, Field(examples=["worker-1@lab-gpu-3"])]
    """Name."""
    object: Literal["worker"] = "worker"
    """Always `worker`."""
    device: Annotated[str, Field(examples=["cuda:0"])]
    """Device it computes on."""
    models: Annotated[list[str], Field(examples=[["gpt2-small"]])]
    """Models it holds in memory."""
    serves: Annotated[list[str], Field(examples=[["gpt2-small", "demo"]])]
    """Models it takes work for."""
    memory_bytes: Annotated[int | None, Field(examples=[2_500_000_000])] = None
    """Resident memory of its child process."""
    device_memory_bytes: Annotated[int | None, Field(examples=[None])] = None
    """Allocated memory of its GPU."""
    running: Annotated[str | None, Field(examples=["job_01JZ8Q5W3T9V6X2Y4A7B0C1D2E/0/3"])] = None
    """Job, phase and shard it runs now; `a job` where it is another key's."""
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
