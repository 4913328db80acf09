"""What every kind of job can do: the protocol between a worker's processes and the modules of this package."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from api_schemas.spec import JobSpec
from worker.engine.model import Weights
from worker.jobs.records import Numbers
from worker.jobs.shard import Job, ShardInput, ShardSettings


@dataclass(frozen=True)
class AssembledResult:
    """A result's head and its arrays, by ``<block>/<field>``."""

    blocks: list[dict[str, Any]]
    """Fields of MetricBlock, JSON-ready, without the arrays."""
    arrays: dict[str, Numbers]
    checks: dict[str, float | int | None]
    unreachable_senders: list[dict[str, Any]]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Merged:
    """What the shards of a phase found together: the input of the next phase."""

    carry: bytes
    next_phase: str


class Kind(Protocol):
    """A kind of job. What phases hand on crosses this seam as bytes; what is in them is the kind's own affair."""

    def phases(self, spec: JobSpec) -> tuple[str, ...]:
        """The phases that are foreseen, in order."""

    def run_shard(
        self, weights: Weights, job: Job, shard: ShardInput, phase: str, carry: bytes, settings: ShardSettings
    ) -> bytes:
        """Run one phase on one shard.

        Raises:
            OutOfMemory: One example of one cell does not fit into memory.
        """

    def merge(self, job: Job, phase: str, carry: bytes, outputs: list[bytes]) -> Merged | None:
        """What the shards found together, in shard order; None after the last phase."""

    def result(self, job: Job, carry: bytes, outputs: list[bytes]) -> AssembledResult:
        """The result, from the outputs of the last phase in shard order.

        Raises:
            ChecksFailed: Patching orig with itself changed a metric, or all writers together do not give the new run.
        """
