"""What a worker process does with a shard, without any queue: the way from a claim to the kind of job that it is of.

A phase's carry, as the store keeps it, begins with the name of the phase that it is for: a phase may depend on what
the one before has found.
"""

from api_schemas.circuits import CircuitPatch
from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from planning.architecture import Architecture
from planning.grid import CellSlice
from worker.engine.model import Weights
from worker.jobs.attribution import AttributionKind
from worker.jobs.circuit import CircuitKind
from worker.jobs.kind import AssembledResult, Job, Kind, Merged, ShardInput, ShardSettings
from worker.jobs.sweep import SweepKind

__all__ = [
    "AssembledResult",
    "ShardSettings",
    "assemble",
    "merge",
    "opened",
    "phases",
    "run_shard",
    "sealed",
]


def kind_of(spec: JobSpec) -> Kind:
    """The kind of job that a spec asks for."""
    if isinstance(spec.patch, CircuitPatch):
        return CircuitKind()
    return AttributionKind() if spec.method == "attribution" else SweepKind()


def phases(spec: JobSpec) -> tuple[str, ...]:
    """The phases that are foreseen for a job, in order."""
    return kind_of(spec).phases(spec)


def run_shard(
    weights: Weights,
    spec: JobSpec,
    dataset: ResolvedDataset,
    longest: int,
    phase: str,
    carry: bytes,
    settings: ShardSettings,
    cells: CellSlice | None = None,
) -> bytes:
    """Run one phase on some of a job's examples and cells.

    Args:
        dataset: The shard's slice; its ``start`` is the index of its first example in the whole.
        longest: Tokens of the longest prompt of the whole dataset.
        carry: What the phase before found; empty in the first.
        cells: All by default.

    Raises:
        OutOfMemory: One example of one cell does not fit into memory.
    """
    job = Job(spec, weights.architecture, longest)
    return kind_of(spec).run_shard(weights, job, ShardInput(dataset, cells), phase, carry, settings)


def merge(
    spec: JobSpec, architecture: Architecture, longest: int, phase: str, carry: bytes, outputs: list[bytes]
) -> Merged | None:
    """What the shards of a phase found together, in shard order; None after the last phase."""
    return kind_of(spec).merge(Job(spec, architecture, longest), phase, carry, outputs)


def assemble(
    spec: JobSpec, architecture: Architecture, longest: int, carry: bytes, outputs: list[bytes]
) -> AssembledResult:
    """The result of a job from the outputs of its last phase, in shard order.

    Raises:
        ChecksFailed: Patching orig with itself changed a metric, or all writers together do not give the new run.
    """
    return kind_of(spec).result(Job(spec, architecture, longest), carry, outputs)


def sealed(merged: Merged) -> bytes:
    """A carry as the store keeps it."""
    return merged.next_phase.encode() + b"\n" + merged.carry


def opened(spec: JobSpec, stored: bytes) -> tuple[str, bytes]:
    """The phase that is due, and its carry."""
    if not stored:
        return phases(spec)[0], b""
    name, _, carry = stored.partition(b"\n")
    return name.decode(), carry
