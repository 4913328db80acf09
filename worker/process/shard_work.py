"""What a claim asks for: one shard's arrays, or a phase put together. Each answers with the step that hands it in."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from api_schemas.errors import StoreUnavailable
from job_store.script import Step
from job_store.shards import Claim, HandedIn, complete, finish, finish_alone, finish_phase, outputs, with_contents
from job_store.store import JobStore
from planning.grid import CellSlice
from worker.jobs.kind import AssembledResult
from worker.jobs.records import pack_arrays
from worker.jobs.run import kind_of, opened, sealed
from worker.jobs.shard import Job, ShardInput, ShardSettings
from worker.models.cache import ModelCache
from worker.models.loading import LoadedModel
from worker.process.provenance import check_arithmetic, dtype_warnings, versions
from worker.settings import WorkerSettings

Value = TypeVar("Value")
OUTPUTS_AT_ONCE = 16
RETRY_AFTER_S = 0.5


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
    held = _patiently(bench.settings.store_patience_s, lambda: with_contents(bench.store, held))
    model = bench.models.get(held.spec.model, held.facts.revision)
    check_arithmetic(held.spec, model.weights.dtype)
    return _assemble(bench, held, model) if held.is_assembly else _run(bench, held, model)


def _patiently(patience_s: float, fetch: Callable[[], Value]) -> Value:
    """What is fetched, once a store that is away has come back; raises ``StoreUnavailable`` when patience has ended."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return fetch()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_AFTER_S)


def _run(bench: Workbench, held: Claim, model: LoadedModel) -> Step[HandedIn]:
    started = time.monotonic()
    _simulate(bench.settings, held)
    phase, carry = opened(held.spec, held.carry)
    kind, job = kind_of(held.spec), Job(held.spec, model.weights.architecture, held.facts.longest, held.job_id)
    given = held.input
    shard = ShardInput(given, None if given.cells is None else CellSlice(*given.cells))
    output = kind.run_shard(model.weights, job, shard, phase, carry, bench.shard_settings)
    foreseen = kind.phases(held.spec)
    about = _Computed(bench.device, len(foreseen), time.monotonic() - started)
    if held.shards == 1 and phase == foreseen[-1]:
        devices = sorted({*held.devices, bench.device})
        result = kind.result(job, carry, [output])
        return finish_alone(held, *_stored(held, devices, model, result), **asdict(about))
    return finish(held, output, worker=bench.worker, lease_s=bench.settings.lease_s, **asdict(about))


@dataclass(frozen=True)
class _Computed:
    """How a shard was computed."""

    device: str
    phases: int
    computed_s: float


def _simulate(settings: WorkerSettings, held: Claim) -> None:
    """Take the time that a test asks for."""
    if settings.simulated_flops:
        time.sleep(held.facts.flops_per_shard / settings.simulated_flops)
    if settings.shard_delay_s:
        time.sleep(settings.shard_delay_s)


def _assemble(bench: Workbench, held: Claim, model: LoadedModel) -> Step[HandedIn]:
    phase, carry = opened(held.spec, held.carry)
    found = _fetch_outputs(bench.store, held, bench.settings.store_patience_s)
    kind, job = kind_of(held.spec), Job(held.spec, model.weights.architecture, held.facts.longest, held.job_id)
    merged = kind.merge(job, phase, carry, found)
    if merged is not None:
        return finish_phase(held, sealed(merged))
    return complete(held, *_stored(held, held.devices, model, kind.result(job, carry, found)))


def _stored(held: Claim, devices: Sequence[str], model: LoadedModel, result: AssembledResult) -> tuple[bytes, bytes]:
    """Head and arrays of the job's result, as the store keeps them."""
    return json.dumps(_head(held, devices, model, result)).encode(), pack_arrays(result.arrays)


def _fetch_outputs(store: JobStore, held: Claim, patience_s: float) -> list[bytes]:
    """Outputs of every shard of the phase, in shard order, some at a time so that the store stays responsive."""
    fetched: list[bytes] = []
    for first in range(0, held.shards, OUTPUTS_AT_ONCE):
        number = min(OUTPUTS_AT_ONCE, held.shards - first)
        step = outputs(held, first, number)
        fetched += _patiently(patience_s, partial(store.run, step))
    return fetched


def _head(held: Claim, devices: Sequence[str], model: LoadedModel, result: AssembledResult) -> dict[str, Any]:
    architecture = model.weights.architecture
    return {
        "blocks": result.blocks,
        "checks": result.checks,
        "unreachable_senders": result.unreachable_senders,
        "warnings": [*held.facts.warnings, *result.warnings, *dtype_warnings(held.spec, devices)],
        "provenance": {
            "model": held.spec.model.name,
            "revision": model.revision,
            "weights_sha256": model.weights_sha256,
            "dequantised_from": list(model.dequantised_from),
            "dtype": held.spec.dtype,
            "device": ", ".join(devices),
            "versions": versions(),
            "dataset_sha256": held.facts.dataset_sha256,
            "spec_sha256": held.facts.spec_sha256,
            "n_kv_heads": architecture.n_kv_heads if architecture.group_size > 1 else None,
        },
    }
