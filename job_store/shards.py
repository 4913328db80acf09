"""Steps of a worker: claim a shard, keep it, hand in its outputs. A claim's fence guards all of them."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from api_schemas.datasets import ShardInput
from api_schemas.spec import JobSpec
from job_store.contents import LEAST_SCHEMA, Content
from job_store.records import JobFacts
from job_store.schema import SCHEMA
from job_store.script import Argument, Step
from job_store.seals import sealed, unsealed
from job_store.store import JobStore

ASSEMBLE = -1
"""Shard number of a phase's assembly."""

Held = Literal["held", "cancelled", "lost"]


@dataclass(frozen=True)
class Claim:
    """One shard (or a phase's assembly) that a worker holds under a lease."""

    job_id: str
    phase: int
    """Index into the phases of the job's spec."""
    shard: int
    fence: int
    """A later claim of the shard has a larger fence, which makes this one invalid."""
    attempt: int
    shards: int
    """Number of shards of each phase."""
    spec_json: bytes
    facts: JobFacts
    trace: dict[str, str]
    stored_input: bytes
    """The shard's examples and cells, as stored, perhaps as a reference; empty for an assembly."""
    stored_carry: bytes
    """Output of the previous phase, as stored, perhaps as a reference; empty in the first phase."""
    devices: tuple[str, ...] = ()
    """For an assembly: the devices that took part in the job, sorted."""
    nudges: int = 0
    """Number of messages to publish for the model, so that other workers claim further shards."""
    schema: int = SCHEMA
    """Of the job."""

    @property
    def is_assembly(self) -> bool:
        """Whether this is the phase's assembly."""
        return self.shard == ASSEMBLE

    @property
    def name(self) -> str:
        """Job and shard, for logs and lists."""
        return f"{self.job_id}/{self.phase}/{'assemble' if self.is_assembly else self.shard}"

    @cached_property
    def spec(self) -> JobSpec:
        """The job's spec, parsed."""
        return JobSpec.model_validate_json(self.spec_json)

    @property
    def input_json(self) -> bytes:
        """The shard's examples.

        Raises:
            DamagedData: They differ from what was stored.
        """
        return unsealed(self.stored_input, f"The input of {self.name}")

    @property
    def carry(self) -> bytes:
        """Output of the previous phase, as safetensors; raises like ``input_json``."""
        return unsealed(self.stored_carry, f"What the phase before {self.name} left")

    @property
    def input(self) -> ShardInput:
        """The shard's examples and cells. Raises as ``input_json`` does."""
        return ShardInput.model_validate_json(self.input_json)


@dataclass(frozen=True)
class HandedIn:
    """The effect of handing in an output."""

    outcome: Literal["stored", "assemble", "again", "failed", "cancelled", "lost"]
    """``lost``: another worker had the lease or the job had ended, so nothing changed."""
    nudges: int = 0
    """Number of messages to publish for the model now."""
    assembly: Claim | None = None
    """The phase's assembly, claimed for the worker that finished the last shard."""


def _sorted_names(names: list[bytes]) -> tuple[str, ...]:
    return tuple(sorted(name.decode() for name in names))


def _read_claim(reply: list[Any] | None) -> Claim | None:
    if not reply:
        return None
    job_id, phase, shard, fence, attempt, shards, spec, facts, trace, dataset, carry, devices, nudges, schema = reply
    return Claim(
        job_id=job_id.decode(),
        phase=int(phase),
        shard=int(shard),
        fence=int(fence),
        attempt=int(attempt),
        shards=int(shards),
        spec_json=spec,
        facts=JobFacts.from_json(facts),
        trace=json.loads(trace),
        stored_input=dataset,
        stored_carry=carry,
        devices=_sorted_names(devices),
        nudges=int(nudges),
        schema=int(schema),
    )


def with_contents(store: JobStore, held: Claim) -> Claim:
    """The claim with its contents in place of references to them.

    Raises:
        DamagedData: One is missing.
        StoreUnavailable: The blob store does not answer.
    """
    stored_input, stored_carry = store.fetched([held.stored_input, held.stored_carry])
    return replace(held, stored_input=stored_input, stored_carry=stored_carry)


def claim(model: str, worker: str, lease_s: float, schema: int = SCHEMA) -> Step[Claim | None]:
    """Take the model's next shard: by priority; within it owners take turns, and so do the jobs of an owner.

    Args:
        schema: The newest schema of jobs that the worker understands.
    """
    return Step("claim", (model, worker, round(lease_s * 1000), schema), _read_claim, repeatable=False)


def _slot(held: Claim) -> tuple[Argument, ...]:
    return (held.job_id, held.phase, held.shard, held.fence)


def _assembly(held: Claim) -> tuple[Argument, ...]:
    assert held.is_assembly
    return (held.job_id, held.phase, held.fence)


def _content(held: Claim, name: str, data: bytes) -> Content | bytes:
    """Sealed in the store itself for a job that workers of an older version may go on with."""
    return Content.of(name, data) if held.schema >= LEAST_SCHEMA else sealed(data)


def _read_handed_in(reply: list[Any]) -> HandedIn:
    return HandedIn(reply[0].decode(), int(reply[1]) if len(reply) > 1 else 0)


def heartbeat(held: Claim, lease_s: float) -> Step[Held]:
    """Keep the shard for another ``lease_s``, and ask whether to continue."""
    return Step("heartbeat", (*_slot(held), round(lease_s * 1000)), lambda reply: reply.decode())


def finish(
    held: Claim, output: bytes, *, device: str, phases: int, worker: str, lease_s: float, computed_s: float
) -> Step[HandedIn]:
    """Hand in a shard's output.

    Args:
        output: Arrays as safetensors.
        device: The device that computed it, for the job's provenance and the measured rates.
        phases: Number of phases of the job's spec.
        computed_s: Time of the computation alone, without loading the model.
    """

    def read(reply: list[Any]) -> HandedIn:
        if reply[0] != b"assemble":
            return _read_handed_in(reply)
        _, nudges, fence, attempt, devices = reply
        assembly = Claim(
            job_id=held.job_id,
            phase=held.phase,
            shard=ASSEMBLE,
            fence=int(fence),
            attempt=int(attempt),
            shards=held.shards,
            spec_json=held.spec_json,
            facts=held.facts,
            trace=held.trace,
            stored_input=b"",
            stored_carry=held.stored_carry,
            devices=_sorted_names(devices),
            schema=held.schema,
        )
        return HandedIn("assemble", int(nudges), assembly)

    arguments = (
        *_slot(held),
        _content(held, f"work/{held.job_id}/{held.phase}/output-{held.shard}", output),
        device,
        phases,
        _flops(held, phases),
        worker,
        round(lease_s * 1000),
        computed_s,
    )
    return Step("finish", arguments, read, repeatable=False)


def _flops(held: Claim, phases: int) -> float:
    shares = held.facts.phase_shares or [1 / phases] * phases
    return held.facts.flops_per_shard * shares[held.phase]


def finish_alone(
    held: Claim, head: bytes, arrays: bytes, *, device: str, phases: int, computed_s: float
) -> Step[HandedIn]:
    """Hand in the result of a job whose only shard this is; the job succeeds. As ``finish`` and ``complete``."""
    assert held.shards == 1
    about = device, phases, _flops(held, phases), computed_s
    arguments = (*_slot(held), *about, *_result(held, head, arrays))
    return Step("finish_alone", arguments, _read_handed_in, repeatable=False)


def outputs(held: Claim, first: int, number: int) -> Step[tuple[bytes, ...]]:
    """Outputs of some shards of the assembly's phase, in shard order.

    Raises:
        DamagedData: An output differs from what was handed in.
    """

    def read(reply: list[bytes]) -> tuple[bytes, ...]:
        return tuple(unsealed(content, f"An output for {held.name}") for content in reply)

    return Step("outputs", (held.job_id, held.phase, first, number), read, fetches=True)


def finish_phase(held: Claim, carry: bytes) -> Step[HandedIn]:
    """Hand in an assembly that is not the last; its arrays go to every shard of the next phase."""
    return Step(
        "finish_phase",
        (*_assembly(held), _content(held, f"work/{held.job_id}/carry", carry)),
        _read_handed_in,
        repeatable=False,
    )


def complete(held: Claim, head: bytes, arrays: bytes) -> Step[HandedIn]:
    """Hand in the last assembly; the job succeeds."""
    return Step("complete", (*_assembly(held), *_result(held, head, arrays)), _read_handed_in, repeatable=False)


def _result(held: Claim, head: bytes, arrays: bytes) -> tuple[Argument, Argument]:
    folder = f"results/{held.job_id}"
    return _content(held, f"{folder}/head", head), _content(held, f"{folder}/arrays", arrays)


def fail(held: Claim, code: str, detail: str, *, try_again: bool = False) -> Step[HandedIn]:
    """Report an error: the job fails, or with ``try_again`` the shard is queued again if it has attempts left."""
    arguments = (*_slot(held), code, detail, "1" if try_again else "")
    return Step("fail", arguments, _read_handed_in, repeatable=False)


def release(held: Claim) -> Step[HandedIn]:
    """Hand the shard back unfinished; the attempt does not count."""
    return Step("release", _slot(held), _read_handed_in, repeatable=False)
