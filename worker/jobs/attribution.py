"""Estimates of every cell from one gradient, and the exact values of the largest. Phases: (means,) cells, (verify)."""

from dataclasses import replace
from functools import reduce

import numpy as np

from api_schemas.spec import JobSpec
from planning.grid import End, Grid
from planning.plan import plan_attribution
from worker.engine.attribution import estimate_paths
from worker.engine.memory import Portion
from worker.engine.model import Weights
from worker.engine.sweep import Values
from worker.jobs.kind import AssembledResult, Merged
from worker.jobs.means import mean_of, sums_of_shard
from worker.jobs.merging import largest, merged_outputs
from worker.jobs.records import Estimates, Exact, Means, SweepOutput, pack, unpack
from worker.jobs.result import assemble
from worker.jobs.shard import Examples, Job, Shard, ShardInput, ShardSettings
from worker.jobs.sweep import cells_of_shard


class AttributionKind:
    """First-order estimates, with or without the exact values of the largest."""

    def phases(self, spec: JobSpec) -> tuple[str, ...]:
        """``means`` over the dataset if they are patched, the estimates, then ``verify`` if it is asked for."""
        means = ("means",) if spec.patch.source == "mean" else ()
        return (*means, "patch", *(("verify",) if spec.verify is not None else ()))

    def run_shard(
        self, weights: Weights, job: Job, shard: ShardInput, phase: str, carry: bytes, settings: ShardSettings
    ) -> bytes:
        """Sums for the means, estimates of every cell, or exact values of some."""
        if phase == "means":
            return pack(sums_of_shard(weights, job, shard, settings))
        if phase == "verify":
            return pack(_verified(weights, job, shard, unpack(Estimates, carry), settings))
        return pack(cells_of_shard(weights, job, shard, unpack(Means, carry), settings, estimates_of))

    def merge(self, job: Job, phase: str, carry: bytes, outputs: list[bytes]) -> Merged | None:
        """The means; or the estimates, and which of them are verified."""
        if phase == "means":
            return Merged(pack(mean_of(outputs, job.spec.patch.mean_over)), "patch")
        if phase == "verify" or job.spec.verify is None:
            return None
        output = _merged(outputs)
        chosen = [largest(values.mean_effect, job.spec.verify) for values in output.metrics]
        return Merged(pack(Estimates(output, unpack(Means, carry), chosen)), "verify")

    def result(self, job: Job, carry: bytes, outputs: list[bytes]) -> AssembledResult:
        """The estimates of all shards together, beside what was verified."""
        if job.spec.verify is None:
            return assemble(job, _merged(outputs), None)
        estimates = unpack(Estimates, carry)
        exact = reduce(_added, (unpack(Exact, output) for output in outputs))
        return assemble(job, estimates.output, (estimates, exact))


def estimates_of(shard: Shard, examples: Examples) -> list[Values]:
    """Every metric of some examples in every cell of the shard, estimated."""
    ends = plan_attribution(shard.grid, examples.places)
    return estimate_paths(examples.batch, ends, shard.through_mlps, shard.overwrite)


def _merged(outputs: list[bytes]) -> SweepOutput:
    return merged_outputs([unpack(SweepOutput, output) for output in outputs])


def _verified(
    weights: Weights, job: Job, shard_input: ShardInput, estimates: Estimates, settings: ShardSettings
) -> Exact:
    """The exact values of the chosen cells that lie in the shard's own, receiver by receiver."""
    shard = Shard.of(weights, job, shard_input, estimates.means, settings)
    by_receiver = _own_cells(shard, job, estimates.union)
    is_first = not any(shard.grid.start)

    def work(start: int, stop: int, portion: Portion) -> Exact:
        sums = [np.zeros(len(estimates.union)) for _ in job.spec.all_metrics]
        for receiver, members in by_receiver.items():
            assert shard.grid.receivers is not None
            senders = [shard.grid.senders.cells[sender] for _, sender in members]
            grid = Grid(End([], senders), End([], [shard.grid.receivers.cells[receiver]]))
            places = [place for place, _ in members]
            swept = replace(shard, grid=grid).swept(start, stop, portion.rows)
            for own, value in zip(sums, swept, strict=True):
                own[places] = value.double().sum(dim=0)[:, 0].cpu().numpy()
        return Exact((stop - start) * is_first, sums)

    return reduce(_added, shard.in_portions(work))


def _own_cells(shard: Shard, job: Job, chosen: list[int]) -> dict[int, list[tuple[int, int]]]:
    """Of the shard's receivers, the chosen cells: which of all chosen, and the shard's sender."""
    first_sender, first_receiver = shard.grid.start
    n_senders, n_receivers = shard.grid.sizes
    found: dict[int, list[tuple[int, int]]] = {}
    for place, cell in enumerate(chosen):
        sender, receiver = divmod(cell, job.grid.sizes[1])
        sender, receiver = sender - first_sender, receiver - first_receiver
        if 0 <= sender < n_senders and 0 <= receiver < n_receivers:
            found.setdefault(receiver, []).append((place, sender))
    return found


def _added(first: Exact, second: Exact) -> Exact:
    sums = [one + other for one, other in zip(first.sums, second.sums, strict=True)]
    return Exact(first.n_examples + second.n_examples, sums)
