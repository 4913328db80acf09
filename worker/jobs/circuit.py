"""Circuits: edges scored, circuits chosen, run and tested. Phases: (means,) (scores, or acdc,) circuits.

A choice in rounds has a trial after the scores, and then a round and a trial by turns.
"""

from dataclasses import replace

from api_schemas.circuits import CircuitPatch
from api_schemas.spec import JobSpec
from planning.acdc import PARTS
from planning.circuit import CircuitGraph
from planning.circuit_rounds import Rounds, at_start, n_rounds
from worker.engine.model import Weights
from worker.jobs.circuit_acdc import acdc_of_shard
from worker.jobs.circuit_records import CircuitInput, EdgeScores, Found, RunValues, merged_runs, merged_scores, sets_of
from worker.jobs.circuit_result import assemble_circuits
from worker.jobs.circuit_shards import runs_of_shard, scores_of_shard
from worker.jobs.kind import AssembledResult, Merged
from worker.jobs.means import mean_of, sums_of_shard
from worker.jobs.records import pack, unpack
from worker.jobs.shard import Job, ShardInput, ShardSettings


def patch_of(job: Job) -> CircuitPatch:
    """What the job asks for."""
    assert isinstance(job.spec.patch, CircuitPatch)
    return job.spec.patch


def choosing_phases(patch: CircuitPatch) -> tuple[str, ...]:
    """What is computed before circuits are known: nothing where they are given."""
    if patch.edges is not None:
        return ()
    if patch.choice.by == "acdc":
        return ("acdc",) * PARTS
    if patch.choice.by == "iterated":
        return ("scores", "trial", *["round", "trial"] * (n_rounds(patch) - 1))
    return ("scores",)


def phase_after(rounds: Rounds, patch: CircuitPatch, graph: CircuitGraph) -> str:
    """What a choice in rounds needs next."""
    if len(rounds.candidates):
        return "trial"
    return "circuits" if rounds.is_done(patch, graph) else "round"


class CircuitKind:
    """Scores of every edge, and circuits of them; or circuits of the user's own."""

    def phases(self, spec: JobSpec) -> tuple[str, ...]:
        """``means`` if edges carry them, then what the choice takes, then ``circuits``."""
        assert isinstance(spec.patch, CircuitPatch)
        means = ("means",) if spec.patch.source == "mean" else ()
        return (*means, *choosing_phases(spec.patch), "circuits")

    def run_shard(
        self, weights: Weights, job: Job, shard: ShardInput, phase: str, carry: bytes, settings: ShardSettings
    ) -> bytes:
        """Sums for the means, scores of the shard's edges, or the metric of its edge sets: a trial's, or all."""
        if phase == "means":
            return pack(sums_of_shard(weights, job, shard, settings))
        given = unpack(CircuitInput, carry)
        if phase in ("scores", "round"):
            return pack(scores_of_shard(weights, job, patch_of(job), shard, given, settings))
        if phase == "acdc":
            return pack(acdc_of_shard(weights, job, patch_of(job), shard, given, settings))
        return pack(runs_of_shard(weights, job, patch_of(job), shard, given, settings))

    def merge(self, job: Job, phase: str, carry: bytes, outputs: list[bytes]) -> Merged | None:
        """The means, then the scores of all edges beside them, then circuits round by round."""
        patch, graph = patch_of(job), CircuitGraph(job.architecture)
        if phase == "means":
            return Merged(
                pack(CircuitInput(mean_of(outputs, job.spec.patch.mean_over))), (*choosing_phases(patch), "circuits")[0]
            )
        given = unpack(CircuitInput, carry)
        if phase == "acdc":
            given = replace(given, found=unpack(Found, outputs[0]).kept, parts=given.parts + 1)
            return Merged(pack(given), "acdc" if given.parts < PARTS else "circuits")
        if phase == "circuits":
            return None
        if phase == "trial":
            assert given.rounds is not None
            found = merged_runs([unpack(RunValues, output) for output in outputs], len(given.rounds.candidates))
            rounds = given.rounds.settled(patch, found.values.mean(axis=1), float(found.orig.mean()))
            return Merged(pack(replace(given, rounds=rounds)), phase_after(rounds, patch, graph))
        scores = merged_scores(graph, [unpack(EdgeScores, output) for output in outputs])
        first = scores if given.scores is None else given.scores
        if patch.choice.by != "iterated":
            return Merged(pack(replace(given, scores=first)), "circuits")
        before = at_start(graph) if given.rounds is None else given.rounds
        rounds = before.scored(patch, graph, scores.moments.mean, first.moments.mean)
        return Merged(pack(replace(given, scores=first, rounds=rounds)), phase_after(rounds, patch, graph))

    def result(self, job: Job, carry: bytes, outputs: list[bytes]) -> AssembledResult:
        """Edges, circuits and tests."""
        given, patch = unpack(CircuitInput, carry), patch_of(job)
        scores, sets = given.scores, sets_of(patch, CircuitGraph(job.architecture), given)
        values = merged_runs([unpack(RunValues, output) for output in outputs], len(sets.runs))
        return assemble_circuits(job.spec, patch, sets, scores, values)
