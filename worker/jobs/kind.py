"""What every kind of job can do: the protocol between a worker's processes and the modules of this package."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from planning.architecture import Architecture
from planning.grid import CellSlice, Grid, grid_of
from worker.engine.model import Weights
from worker.engine.runs import ActivationCache
from worker.jobs.records import Numbers


@dataclass(frozen=True)
class ShardSettings:
    """What the process offers a shard."""

    memory_bytes: int
    """Memory for activations and work, above the weights."""
    device: str
    activation_cache: ActivationCache | None = None


@dataclass(frozen=True)
class Job:
    """What all shards of a job have in common."""

    spec: JobSpec
    architecture: Architecture
    longest: int
    """Tokens of the longest prompt of the whole dataset."""

    @cached_property
    def grid(self) -> Grid:
        """All cells."""
        return grid_of(self.spec.patch, self.architecture, self.longest)


@dataclass(frozen=True)
class ShardInput:
    """A slice of a job's examples, and a slice of its cells."""

    dataset: ResolvedDataset
    """Its ``start`` is the index of its first example in the whole."""
    cells: CellSlice | None = None
    """None for all."""


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
