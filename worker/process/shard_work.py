"""What a claim asks for: one shard's arrays, or a phase put together. Each answers with the step that hands it in."""

import json
import time
from dataclasses import dataclass
from typing import Any

from job_store.script import Step
from job_store.shards import Claim, HandedIn, complete, finish, finish_phase, outputs
from job_store.store import JobStore
from worker.jobs.arrays import Arrays, pack, unpack
from worker.jobs.experiment import AssembledResult, ShardSettings, assemble, phases, run_shard
from worker.jobs.experiment import finish_phase as merge_phase
from worker.models.cache import ModelCache
from worker.models.loading import LoadedModel
from worker.process.provenance import dtype_warnings, versions
from worker.settings import WorkerSettings

OUTPUTS_AT_ONCE = 16


@dataclass(frozen=True)
class Workbench:
    """What a child works with."""

    settings: WorkerSettings
    store: JobStore
    models: ModelCache
    shard_settings: ShardSettings
    worker: str
    """Name on the list of workers."""
    device: str
    """What the device is, for provenance and measured rates."""


def compute(bench: Workbench, held: Claim) -> Step[HandedIn]:
    """Do what the claim asks for.

    Raises:
        PathPatchingError: The job cannot succeed.
    """
    model = bench.models.get(held.spec.model, held.facts.revision)
    return _assemble(bench, held, model) if held.is_assembly else _run(bench, held, model)


def _run(bench: Workbench, held: Claim, model: LoadedModel) -> Step[HandedIn]:
    started = time.monotonic()
    _simulate(bench.settings, held)
    names = phases(held.spec)
    arrays = run_shard(
        model.weights,
        held.spec,
        held.dataset,
        held.facts.longest,
        names[held.phase],
        unpack(held.carry),
        bench.shard_settings,
    )
    computed_s = time.monotonic() - started
    return finish(
        held,
        pack(arrays),
        device=bench.device,
        phases=len(names),
        worker=bench.worker,
        lease_s=bench.settings.lease_s,
        computed_s=computed_s,
    )


def _simulate(settings: WorkerSettings, held: Claim) -> None:
    """Take the time that a test asks for."""
    if settings.simulated_flops:
        time.sleep(held.facts.flops_per_shard / settings.simulated_flops)
    if settings.shard_delay_s:
        time.sleep(settings.shard_delay_s)


def _assemble(bench: Workbench, held: Claim, model: LoadedModel) -> Step[HandedIn]:
    names = phases(held.spec)
    parts = _fetch_outputs(bench.store, held)
    shape, facts, carry = model.weights.shape, held.facts, unpack(held.carry)
    if held.phase < len(names) - 1:
        return finish_phase(held, pack(merge_phase(held.spec, shape, facts.longest, names[held.phase], parts)))
    result = assemble(held.spec, shape, facts.longest, facts.examples, carry, parts)
    return complete(held, json.dumps(_head(held, model, result)).encode(), pack(result.arrays))


def _fetch_outputs(store: JobStore, held: Claim) -> list[Arrays]:
    """Outputs of every shard of the phase, in shard order, some at a time so that the store stays responsive."""
    fetched: list[Arrays] = []
    for first in range(0, held.shards, OUTPUTS_AT_ONCE):
        number = min(OUTPUTS_AT_ONCE, held.shards - first)
        fetched += [unpack(content) for content in store.run(outputs(held, first, number))]
    return fetched


def _head(held: Claim, model: LoadedModel, result: AssembledResult) -> dict[str, Any]:
    return {
        "blocks": result.blocks,
        "checks": result.checks,
        "unreachable_senders": result.unreachable_senders,
        "warnings": [*held.facts.warnings, *result.warnings, *dtype_warnings(held.spec, held.devices)],
        "provenance": {
            "model": held.spec.model.name,
            "revision": model.revision,
            "weights_sha256": model.weights_sha256,
            "dtype": held.spec.dtype,
            "device": ", ".join(held.devices),
            "versions": versions(),
            "dataset_sha256": held.facts.dataset_sha256,
            "spec_sha256": held.facts.spec_sha256,
        },
    }
