"""Circuits: every edge scored, circuits chosen, run and tested. Phases: (means,) (scores,) circuits."""

from api_schemas.circuits import CircuitPatch
from api_schemas.spec import JobSpec
from planning.circuit import CircuitGraph
from planning.circuit_sets import edge_sets
from worker.engine.model import Weights
from worker.jobs.circuit_records import CircuitInput, EdgeScores, RunValues, merged_runs, merged_scores
from worker.jobs.circuit_result import assemble_circuits
from worker.jobs.circuit_shards import runs_of_shard, scores_of_shard
from worker.jobs.kind import AssembledResult, Job, Merged, ShardInput, ShardSettings
from worker.jobs.means import mean_of, sums_of_shard
from worker.jobs.records import pack, unpack


def patch_of(job: Job) -> CircuitPatch:
    """What the job asks for."""
    assert isinstance(job.spec.patch, CircuitPatch)
    return job.spec.patch


class CircuitKind:
    """Scores of every edge, and circuits of them; or circuits of the user's own."""

    def phases(self, spec: JobSpec) -> tuple[str, ...]:
        """``means`` if edges carry them, ``scores`` unless circuits are given, then ``circuits``."""
        assert isinstance(spec.patch, CircuitPatch)
        means = ("means",) if spec.patch.source == "mean" else ()
        scores = () if spec.patch.method is None else ("scores",)
        return (*means, *scores, "circuits")

    def run_shard(
        self, weights: Weights, job: Job, shard: ShardInput, phase: str, carry: bytes, settings: ShardSettings
    ) -> bytes:
        """Sums for the means, scores of the shard's edges, or the metric of the shard's edge sets."""
        if phase == "means":
            return pack(sums_of_shard(weights, job, shard, settings))
        given = unpack(CircuitInput, carry)
        if phase == "scores":
            return pack(scores_of_shard(weights, job, patch_of(job), shard, given.means, settings))
        return pack(runs_of_shard(weights, job, patch_of(job), shard, given, settings))

    def merge(self, job: Job, phase: str, carry: bytes, outputs: list[bytes]) -> Merged | None:
        """The means, then the scores of all edges beside them."""
        if phase == "means":
            following = "circuits" if patch_of(job).method is None else "scores"
            return Merged(pack(CircuitInput(mean_of(outputs))), following)
        if phase == "scores":
            graph = CircuitGraph(job.architecture)
            scores = merged_scores(graph, [unpack(EdgeScores, output) for output in outputs])
            return Merged(pack(CircuitInput(unpack(CircuitInput, carry).means, scores)), "circuits")
        return None

    def result(self, job: Job, carry: bytes, outputs: list[bytes]) -> AssembledResult:
        """Edges, circuits and tests."""
        scores, patch = unpack(CircuitInput, carry).scores, patch_of(job)
        found = None if scores is None else scores.moments.mean
        sets = edge_sets(patch, CircuitGraph(job.architecture), found)
        values = merged_runs([unpack(RunValues, output) for output in outputs], len(sets.runs))
        return assemble_circuits(job.spec, patch, sets, scores, values)
