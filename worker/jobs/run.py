"""From a claimed shard to the kind of job that it is of.

A phase's carry, as the store keeps it, begins with the name of the phase that it is for: a phase may depend on what
the one before has found.
"""

from api_schemas.circuits import CircuitPatch
from api_schemas.spec import JobSpec
from worker.jobs.attribution import AttributionKind
from worker.jobs.circuit import CircuitKind
from worker.jobs.kind import Kind, Merged
from worker.jobs.sweep import SweepKind


def kind_of(spec: JobSpec) -> Kind:
    """The kind of job that a spec asks for."""
    if isinstance(spec.patch, CircuitPatch):
        return CircuitKind()
    return AttributionKind() if spec.method == "attribution" else SweepKind()


def sealed(merged: Merged) -> bytes:
    """A carry as the store keeps it."""
    return merged.next_phase.encode() + b"\n" + merged.carry


def opened(spec: JobSpec, stored: bytes) -> tuple[str, bytes]:
    """The phase that is due, and its carry."""
    if not stored:
        return kind_of(spec).phases(spec)[0], b""
    name, _, carry = stored.partition(b"\n")
    return name.decode(), carry
