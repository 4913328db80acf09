"""What a shard of a circuit job computes: scores of some edges, or the metric of some edge sets."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from api_schemas.circuits import CircuitPatch
from planning.circuit import CircuitGraph, Members
from planning.circuit_sets import EdgeSets
from planning.grid import CellSlice, End, Grid
from worker.engine.circuit_scores import circuit_estimates
from worker.engine.edge_run import Base, circuit_run, floats_per_cell
from worker.engine.edge_scores import edge_estimates
from worker.engine.memory import WORK_FLOATS_PER_ROW, Portion, in_portions
from worker.engine.model import Weights
from worker.engine.sweep import Batch
from worker.jobs.circuit_records import (
    CircuitInput,
    EdgeScores,
    RunValues,
    edges_into,
    merged_runs,
    merged_scores,
    sets_of,
)
from worker.jobs.moments import Moments, moments_on_device
from worker.jobs.shard import Examples, Job, Shard, ShardInput, ShardSettings, arithmetic

MOST_SETS_AT_ONCE = 64


def scores_of_shard(
    weights: Weights,
    job: Job,
    patch: CircuitPatch,
    shard_input: ShardInput,
    given: CircuitInput,
    settings: ShardSettings,
) -> EdgeScores:
    """Scores of the shard's edges: of the model's, or in a choice by rounds of those of the circuit so far, in its run.

    Estimates are of all edges at once: of slices of cells the first computes them.
    """
    graph = CircuitGraph(job.architecture)
    readers = readers_of(graph, shard_input.cells)
    if patch.method != "exact":
        if readers[0]:
            nothing = np.zeros(0)
            return EdgeScores(shard_input.dataset.start, (0, 0), Moments(len(shard_input.dataset), nothing, nothing))
        readers = (0, len(graph.readers))
    shard = Shard.of(weights, job, replace(shard_input, cells=all_writers(graph, readers)), given.means, settings)
    # after a norm the heads of a layer share a factor, so that an edge is no path patch of its head
    is_run_by_edges = patch.method == "exact" and job.architecture.has_post_norms

    def work(start: int, stop: int, portion: Portion) -> EdgeScores:
        examples = shard.examples(start, stop, portion.rows)
        batch = examples.batch
        if given.rounds is not None or is_run_by_edges:
            members = np.ones(len(graph), dtype=bool) if given.rounds is None else given.rounds.members
            effects = _in_circuit(batch, patch, graph, members, readers, portion)
        else:
            effects = _exact(shard, examples) if patch.method == "exact" else _estimates(batch, patch)
        first = shard.dataset.start + start
        found = EdgeScores(first, readers, moments_on_device(effects))
        return found if patch.resamples is None else _resampled(found, effects, patch.resamples, patch.seed)

    if patch.method == "exact" and given.rounds is None and not is_run_by_edges:
        parts = shard.in_portions(work)
    else:
        floats = _gradient_floats(graph, patch, are_in_circuit=patch.method == "exact" or given.rounds is not None)
        parts = all_in_portions(shard, work, floats * shard.dataset.longest)
    first = merged_scores(graph, [replace(part, readers=(0, len(graph.readers))) for part in parts])
    return replace(first, start=shard_input.dataset.start, readers=readers)


def readers_of(graph: CircuitGraph, cells: CellSlice | None) -> tuple[int, int]:
    """The readers of a slice of cells."""
    return (0, len(graph.readers)) if cells is None else cells.receivers


def all_writers(graph: CircuitGraph, readers: tuple[int, int]) -> CellSlice:
    """The cells of all edges into some readers."""
    return CellSlice((0, len(graph.writers)), readers)


def _exact(shard: Shard, examples: Examples) -> Tensor:
    """(example, edge): patched minus orig, in float64."""
    (values,) = shard.sweep(examples)
    effects = values.double() - examples.batch.reads.orig_values[0].double()
    first, graph = shard.grid.start[1], CircuitGraph(shard.weights.architecture)
    edges = edges_into(graph, (first, first + values.shape[2]))
    writers, readers = (torch.from_numpy(end[edges]).to(values.device) for end in graph.ends)
    return effects[:, writers, readers - first]


def _estimates(batch: Batch, patch: CircuitPatch) -> Tensor:
    assert batch.reads.logits is not None
    return edge_estimates(batch.runs, batch.reads.logits, patch.steps).double()


def _in_circuit(
    batch: Batch, patch: CircuitPatch, graph: CircuitGraph, members: Members, readers: tuple[int, int], portion: Portion
) -> Tensor:
    """(example, edge): what removing one more edge changes, in float64; 0 for edges outside the circuit."""
    edges = edges_into(graph, readers)
    if patch.method != "exact":
        assert batch.reads.logits is not None
        matrix = torch.from_numpy(graph.matrix(members)).to(batch.runs.device)
        found: Tensor = circuit_estimates(Base(batch.runs), matrix, batch.reads.logits, patch.steps).double()
        return found[:, edges]
    own = edges[members[edges]]
    sets = [members, *(members & ~graph.members([edge]) for edge in own)]
    values = run_values(batch, graph, sets, budget_of(graph, portion))
    effects = np.zeros((batch.runs.n_examples, len(edges)))
    effects[:, members[edges]] = (values[1:] - values[:1]).T
    return torch.from_numpy(effects)


def budget_of(graph: CircuitGraph, portion: Portion) -> int:
    """Numbers that circuit runs may take together."""
    return portion.rows * WORK_FLOATS_PER_ROW * graph.architecture.d_model


def _resampled(found: EdgeScores, effects: Tensor, resamples: int, seed: int) -> EdgeScores:
    """With the sums that bootstrap resamples have: each example as often as drawn from Poisson's distribution."""
    examples = range(found.start, found.start + len(effects))
    drawn = [np.random.default_rng([seed, example]).poisson(1.0, resamples) for example in examples]
    counts = np.stack(drawn, axis=1).astype(np.float64)
    sums = torch.from_numpy(counts).to(effects.device) @ effects
    return replace(found, resampled=sums.float().cpu().numpy(), resampled_counts=counts.sum(axis=1))


def _gradient_floats(graph: CircuitGraph, patch: CircuitPatch, are_in_circuit: bool) -> int:
    """Memory of one position's gradients, in numbers.

    In a circuit's run those of all readers, twice, writers' changes and the run's graph are there at once. Else the
    graph is gone before the changes come, with the gradients of one layer at a time; what those of all steps are made
    of is there throughout: five streams per layer, and twice as much that the allocator does not give back (measured).
    """
    a = graph.architecture
    of_graph = 24 * a.n_layers * a.d_model + 4 * a.n_layers * a.d_mlp
    if are_in_circuit:
        return of_graph + (3 * len(graph.readers) + len(graph.writers)) * a.d_model
    of_layer = (2 * len(graph.writers) + 8 * graph.readers_per_layer) * a.d_model
    return max(of_graph, of_layer) + 15 * a.n_layers * max(patch.steps, 1) * a.d_model


def all_in_portions(shard: Shard, work, floats: int) -> list:  # type: ignore[no-untyped-def, type-arg]
    """All examples, as many at once as fit.

    Args:
        floats: Memory of one example, in numbers.
    """
    budget, n_bytes = shard.settings.memory_bytes, 4 * floats + shard.example_bytes
    portion = replace(shard.first_portion, examples=max(1, min(len(shard.dataset), budget // 2 // n_bytes)))
    with arithmetic("float32"):
        return in_portions(len(shard.dataset), portion, work, n_bytes, budget)


def runs_of_shard(
    weights: Weights,
    job: Job,
    patch: CircuitPatch,
    shard_input: ShardInput,
    given: CircuitInput,
    settings: ShardSettings,
) -> RunValues:
    """The metric of the shard's edge sets: a slice of readers stands for as large a part of these.

    Those are what the job runs in the end, or the candidates of a choice in rounds.
    """
    graph = CircuitGraph(job.architecture)
    sets = None if given.candidates else sets_of(patch, graph, given)
    runs = given.candidates if sets is None else sets.runs
    first, last = (len(runs) * reader // len(graph.readers) for reader in readers_of(graph, shard_input.cells))
    everything = all_writers(graph, (0, len(graph.readers)))
    shard = Shard.of(weights, job, replace(shard_input, cells=everything), given.means, settings)

    def work(start: int, stop: int, portion: Portion) -> RunValues:
        examples = shard.examples(start, stop, portion.rows)
        batch = examples.batch
        orig, new = (
            values[0][:, 0, 0].double().cpu().numpy() for values in (batch.reads.orig_values, batch.reads.new_values)
        )
        values = run_values(batch, graph, runs[first:last], budget_of(graph, portion))
        is_first = shard.dataset.start + start == 0 and first == 0
        checked = _one_edge(shard, examples, sets) if is_first and sets is not None else None
        return RunValues(shard.dataset.start + start, (first, last), values, orig, new, checked)

    floats = floats_per_cell(graph, len(graph.writers), 1, shard.dataset.longest)
    return replace(
        merged_runs(all_in_portions(shard, work, floats), len(runs)), start=shard.dataset.start, sets=(first, last)
    )


def run_values(batch: Batch, graph: CircuitGraph, runs: list[Members], budget: int) -> NDArray[np.float64]:
    """(edge set, example): the metric of circuit runs, as many sets at once as fit into a budget of numbers."""
    logits, base, weights = batch.reads.logits, Base(batch.runs), batch.runs.weights
    assert logits is not None
    n_examples, n_pos = batch.runs.n_examples, batch.runs.activations.tokens.shape[1]
    found = np.zeros((len(runs), n_examples))
    for chosen in _chunks(graph, runs, budget, n_examples * n_pos):
        matrices = torch.from_numpy(graph.matrix(np.stack([runs[index] for index in chosen]))).to(batch.runs.device)
        (values,) = logits.values(weights, circuit_run(base, matrices, logits.rows)).values()
        found[chosen] = values.double().T.cpu().numpy()
    return found


def _chunks(graph: CircuitGraph, runs: list[Members], budget: int, rows: int) -> Iterator[list[int]]:
    """Sets that run together, small ones first: the writers of any of them take memory for all."""
    chunk: list[int] = []
    live = np.zeros(len(graph.writers), dtype=bool)
    for index in sorted(range(len(runs)), key=lambda index: int(runs[index].sum())):
        own = np.zeros_like(live)
        own[graph.ends[0][runs[index]]] = True
        size = floats_per_cell(graph, int((live | own).sum()), 1, rows)
        if chunk and (size * (len(chunk) + 1) > budget or len(chunk) == MOST_SETS_AT_ONCE):
            yield chunk
            chunk, live = [], np.zeros_like(live)
        chunk.append(index)
        live |= own
    if chunk:
        yield chunk


def _one_edge(shard: Shard, examples: Examples, sets: EdgeSets) -> float | None:
    """How far the first example's run without one edge is from that edge's path patch."""
    edge, run = sets.checked_edge, sets.runs[sets.without_checked]
    if run.sum() < len(run) - 1:
        return None  # the edge was its writer's or reader's only one
    writer, reader = (int(end[edge]) for end in sets.graph.ends)
    assert shard.grid.receivers is not None
    grid = Grid(End([], [shard.grid.senders.cells[writer]]), End([], [shard.grid.receivers.cells[reader]]))
    of_edge = replace(shard, grid=grid)
    alone = of_edge.first_example(examples)
    (patched,) = of_edge.sweep(alone)
    (value,) = run_values(alone.batch, sets.graph, [run], 1)
    return abs(float(patched[0, 0, 0]) - float(value[0]))
