"""Exact path and activation patching of every cell. Phases: means if they are patched, then the cells."""

from collections.abc import Callable
from dataclasses import replace

from api_schemas.spec import JobSpec
from worker.engine.memory import Portion
from worker.engine.model import Weights
from worker.engine.sweep import Values
from worker.jobs.checks import checks_of, deviation_of
from worker.jobs.kind import AssembledResult, Merged
from worker.jobs.means import mean_of, sums_of_shard
from worker.jobs.merging import merged_outputs
from worker.jobs.output import output_of
from worker.jobs.records import Checks, Means, SweepOutput, pack, unpack
from worker.jobs.result import assemble
from worker.jobs.shard import Examples, Job, Shard, ShardInput, ShardSettings


class SweepKind:
    """Path and activation patching, exact."""

    def phases(self, spec: JobSpec) -> tuple[str, ...]:
        """``means`` over the dataset if they are patched, then the cells."""
        return ("means", "patch") if spec.patch.source == "mean" else ("patch",)

    def run_shard(
        self, weights: Weights, job: Job, shard: ShardInput, phase: str, carry: bytes, settings: ShardSettings
    ) -> bytes:
        """Sums for the means, or the metrics of every cell."""
        if phase == "means":
            return pack(sums_of_shard(weights, job, shard, settings))
        means = unpack(Means, carry) if carry else Means()
        return pack(cells_of_shard(weights, job, shard, means, settings, Shard.sweep))

    def merge(self, job: Job, phase: str, carry: bytes, outputs: list[bytes]) -> Merged | None:
        """The means, for the phase that patches them."""
        return Merged(pack(mean_of(outputs, job.spec.patch.mean_over)), "patch") if phase == "means" else None

    def result(self, job: Job, carry: bytes, outputs: list[bytes]) -> AssembledResult:
        """The cells of all shards together."""
        return assemble(job, merged_outputs([unpack(SweepOutput, output) for output in outputs]), None)


def cells_of_shard(
    weights: Weights,
    job: Job,
    shard_input: ShardInput,
    means: Means,
    settings: ShardSettings,
    sweep: Callable[[Shard, Examples], list[Values]],
) -> SweepOutput:
    """Metrics of every cell of the shard, orig and new, and the checks.

    Args:
        sweep: How some examples of a shard are swept: exactly, or estimated.
    """
    shard = Shard.of(weights, job, shard_input, means, settings)

    def work(start: int, stop: int, portion: Portion) -> SweepOutput:
        examples = shard.examples(start, stop, portion.rows)
        values = sweep(shard, examples)
        checks = checks_of(shard, examples) if start == 0 else Checks()
        return output_of(job, shard, examples, values, checks)

    output = merged_outputs(shard.in_portions(work))
    if job.spec.dtype != "float32" and not weights.is_rounded:
        deviation = deviation_of(weights, shard)
        output = replace(output, checks=replace(output.checks, dtype=deviation))
    return output
