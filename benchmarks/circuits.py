"""Circuits on a GPT-2-small-sized model with random weights: 10 prompts of 14 tokens, 32,491 edges.

Run: ``python -m benchmarks.circuits [--json FILE] [--page] [--only KEY,KEY] [--family llama] [--share 0.1] [--small]``.
Needs the development environment. Times are in forwards: seconds by those of one forward pass of the same prompts by
transformers' own model, as the public codes count, all taking turns; and in passes of ours, which reads the last
position's logits alone. ``exact_all_edges`` runs every edge, part by part, and says on standard error how far it
is; ``--share`` runs some of the parts, spread over the layers, and extrapolates by their floating-point operations. Its
reference is one edge at a time, hook by hook, extrapolated from 50 edges. ``--json`` replaces the keys that were
measured and keeps the others of the file; ``--page`` writes their table into docs/performance.md. ``--small`` takes a
tiny model, to try the script.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelOrigin
from api_schemas.spec import JobSpec, ModelSpec
from benchmarks.engine import BridgeOracle, Oracle, Row, Times, machine, measured_on
from benchmarks.experiments import LOGITS, SCALE, SHAPE, peak_resident_bytes, random_prompts, reset_peak, spec_of
from benchmarks.page import write_table
from planning.architecture import Architecture
from planning.circuit import CircuitGraph
from planning.circuit_choice import greedy_edges
from planning.circuit_nodes import reader_nodes, writer_nodes
from planning.grid import CellSlice
from tests.shards import run_shard
from worker.engine import transformer
from worker.engine.edge_run import Base, circuit_run, moved_by_attention
from worker.engine.model import Weights
from worker.engine.rows import rows_of
from worker.engine.runs import Activations, Runs, clean_runs
from worker.jobs.activation_cache import ActivationCache
from worker.jobs.circuit_records import EdgeScores
from worker.jobs.records import unpack
from worker.jobs.shard import ShardSettings
from worker.models.loading import load_model

N_EXAMPLES, N_POS, N_REFERENCE = 10, 14, 50
PARTS_PER_LAYER = 4
TURNS = 30
"""Of a circuit's run, a fraction of a second long; the shortest counts."""
BUDGET = 2**30
SIZES = {"circuit_run_100": 100, "circuit_run_1000": 1000, "circuit_run_all": None}
BARS = {"attribution": 6.0, "integrated": 20.0, "circuit_run_100": 0.3, "circuit_run_1000": 0.7, "circuit_run_all": 2.0}
"""At most so many forwards of transformers' model."""
AT_LEAST = {"ratio": 15.0, "floor_share": 0.8, "efficiency": 0.9}
TOLERANCE = 1e-4
SMALL = Architecture(n_layers=3, n_heads=4, d_model=64, d_mlp=128, n_ctx=1024, d_vocab=211)


@dataclass(frozen=True)
class Bench:
    """A model, its prompts, and the standard way of running one edge."""

    weights: Weights
    dataset: ResolvedDataset
    model: Callable[..., Any]
    """transformers' own."""
    oracle: Callable[[], Oracle]
    plain_mlp: bool
    """Whether the oracle calls an MLP's input ``pre``."""
    share: float

    @property
    def graph(self) -> CircuitGraph:
        """Its edges."""
        return CircuitGraph(self.weights.architecture)

    def forward(self) -> None:
        """One forward pass of the model over the orig prompts."""
        with torch.no_grad():
            self.model(torch.tensor(self.dataset.orig), use_cache=False)

    def own_pass(self) -> None:
        """Ours, to the logits that the metric reads."""
        with torch.no_grad():
            tokens = torch.tensor(self.dataset.orig)
            last = Activations(self.weights, tokens).get("resid_pre", self.weights.architecture.n_layers)[:, -1]
            transformer.unembed(self.weights, transformer.norm(self.weights, "ln_final", None, last))

    def spec(self, **patch: Any) -> JobSpec:
        """A circuit job on the prompts."""
        return spec_of({"kind": "circuit", **patch}, LOGITS, self.dataset, per_example=False)

    def scores(self, spec: JobSpec, settings: ShardSettings, cells: CellSlice | None = None) -> EdgeScores:
        """What a shard of the first phase finds."""
        return unpack(EdgeScores, run_shard(self.weights, spec, self.dataset, N_POS, "scores", b"", settings, cells))


def prompts(d_vocab: int, n_examples: int = N_EXAMPLES) -> ResolvedDataset:
    """Random tokens, shortened to this benchmark's length."""
    longer = random_prompts(n_examples, d_vocab)
    orig, new = ([prompt[:N_POS] for prompt in run] for run in (longer.orig, longer.new))
    return longer.model_copy(
        update={"orig": orig, "new": new, "roles": {**longer.roles, "end": [N_POS - 1] * n_examples}}
    )


def exact_all_edges(bench: Bench) -> Row:
    """Every edge alone patched, beside the products that this cannot do without and the standard way of one edge."""
    graph, times = bench.graph, Times()
    settings = ShardSettings(BUDGET, ActivationCache(2**31))
    spec = bench.spec(score={"method": "exact"})
    parts = parts_of(graph)
    chosen = [
        parts[index] for index in np.linspace(0, len(parts) - 1, max(2, round(bench.share * len(parts)))).astype(int)
    ]
    chosen = list(dict.fromkeys(chosen))
    flops = {part: part_flops(graph, part) for part in parts}
    total, done, seconds = sum(flops[part] for part in chosen), 0.0, 0.0
    found: dict[int, float] = {}
    rates = [matmul_rate(bench)]
    for part in chosen:
        cells = CellSlice((0, len(graph.writers)), part)
        start = time.perf_counter()
        scores = bench.scores(spec, settings, cells)
        seconds += time.perf_counter() - start
        done += flops[part]
        edges = np.flatnonzero((graph.ends[1] >= part[0]) & (graph.ends[1] < part[1]))
        found |= dict(zip(edges.tolist(), scores.moments.mean.tolist(), strict=True))
        times.run("forward", bench.forward)
        rates.append(matmul_rate(bench))
        print(
            f"  {done / total:.0%} after {seconds:.0f} s, {seconds * (total / done - 1):.0f} s to go",
            file=sys.stderr,
            flush=True,
        )
    seconds *= sum(flops.values()) / total
    row = reference_row(bench, spec, found) | {"edges": len(graph), "edges_measured": len(found), "seconds": seconds}
    row |= {"forward_seconds": times.best["forward"], "forwards": seconds / times.best["forward"]}
    row["ratio"] = row["reference_seconds_per_edge"] * len(graph) / seconds
    rate = float(np.median(rates))
    return row | {"matmul_gflops_per_s": rate / 1e9, "floor_share": sum(flops.values()) / rate / seconds}


def reference_row(bench: Bench, spec: JobSpec, found: dict[int, float]) -> Row:
    """The standard way: one edge at a time, clean runs included, of edges spread over those that were measured.

    Raises:
        AssertionError: Its effect differs from the engine's.
    """
    oracle, graph, known = bench.oracle(), bench.graph, sorted(found)
    senders, receivers = writer_nodes(graph), reader_nodes(graph)
    if bench.plain_mlp:
        receivers = [node.model_copy(update={"hook": "pre"}) if node.hook == "mlp_in" else node for node in receivers]
    clean = oracle.clean(spec, bench.dataset, receivers[0])["orig"]
    total = worst = 0.0
    chosen = [known[place] for place in np.linspace(0, len(known) - 1, N_REFERENCE).astype(int)]
    for number, edge in enumerate(chosen):
        ends = [senders[graph.ends[0][edge]]], [receivers[graph.ends[1][edge]]]
        start = time.perf_counter()
        patched = oracle.cell(spec, bench.dataset, *ends)
        total += time.perf_counter() - start
        worst = max(worst, abs(float((patched - clean).mean()) - found[edge]))
        if number % 10 == 9:
            print(f"  reference: {number + 1} of {N_REFERENCE} edges", file=sys.stderr, flush=True)
    assert worst < TOLERANCE, f"scores differ from the reference by {worst}"
    return {"reference_seconds_per_edge": total / N_REFERENCE, "max_abs_difference": worst}


def parts_of(graph: CircuitGraph) -> list[tuple[int, int]]:
    """All readers in ranges, each within a layer."""
    found, size = [], graph.readers_per_layer
    for layer in range(graph.architecture.n_layers):
        bounds = [layer * size + size * part // PARTS_PER_LAYER for part in range(PARTS_PER_LAYER + 1)]
        found += list(pairwise(bounds))
    return [*found, (len(graph.readers) - 1, len(graph.readers))]


def part_flops(graph: CircuitGraph, part: tuple[int, int]) -> float:
    """Products of the patched runs of all edges into some readers: attention's own scores are not counted."""
    a, n_rows = graph.architecture, N_EXAMPLES * N_POS
    keys = 2.0 * a.d_model * 2 * a.n_kv_heads * a.d_head
    others = 2.0 * 2 * a.d_model * a.n_heads * a.d_head
    mlp = 2.0 * (3 if a.is_gated else 2) * a.d_model * a.d_mlp
    found = 0.0
    for reader in range(*part):
        layer, place = divmod(reader, graph.readers_per_layer)
        if layer == a.n_layers:
            continue  # only the logits are read
        rows_here = n_rows if layer < a.n_layers - 1 else N_EXAMPLES
        each = 4.0 * a.d_model * a.d_head * n_rows if place < graph.readers_per_layer - 1 else 0.0
        each += mlp * rows_here * (place == graph.readers_per_layer - 1 or not a.is_parallel)
        above = a.n_layers - 1 - layer
        each += max(above - 1, 0) * n_rows * (keys + others + mlp)
        each += (n_rows * keys + N_EXAMPLES * (others + mlp)) if above else 0.0
        found += graph.writers_before(reader) * each
    return found


def matmul_rate(bench: Bench) -> float:
    """Floating-point operations per second of a product as large as those of many cells."""
    rows, weight = torch.ones(4096, bench.weights.architecture.d_model), bench.weights.W_in[0]
    flops, best = 2.0 * rows.shape[0] * weight.shape[0] * weight.shape[1], np.inf
    for _ in range(5):
        start = time.perf_counter()
        rows @ weight
        best = min(best, time.perf_counter() - start)
    return flops / best


def estimated(bench: Bench, **score: Any) -> Row:
    """Scores by gradients: both clean runs and everything else that the phase does."""
    settings, spec, times = ShardSettings(BUDGET), bench.spec(score=score), Times()
    for turn in range(4):
        times.run("forward", bench.forward)
        times.run("own pass", bench.own_pass)
        times.run("scores" if turn else "warm-up", lambda: bench.scores(spec, settings))
    return in_forwards(times, "scores")


def of_circuit(bench: Bench, size: int | None) -> Row:
    """The run of a circuit chosen as EAP-IG does, greedily; the base is known, as it is to all circuits of a job."""
    graph, times = bench.graph, Times()
    n_edges = len(graph) if size is None else min(size, len(graph))
    spec = bench.spec(score={"method": "attribution"})
    key = np.abs(bench.scores(spec, ShardSettings(BUDGET)).moments.mean)
    members = graph.pruned(graph.members(greedy_edges(graph, key, n_edges)))
    with torch.no_grad():
        base = Base(Runs(clean_runs(bench.weights, bench.dataset.orig, bench.dataset.new)))
        matrix = torch.from_numpy(graph.matrix(members))[None]
        rows = rows_of(np.tile(np.arange(N_POS) == N_POS - 1, (N_EXAMPLES, 1)), bench.weights.device)
        for turn in range(TURNS):
            times.run("forward", bench.forward)
            times.run("own pass", bench.own_pass)
            times.run("run" if turn else "warm-up", lambda: circuit_run(base, matrix, rows))
    floor = run_flops(graph, graph.matrix(members)) / own_pass_flops(graph.architecture)
    return in_forwards(times, "run") | {"edges": int(members.sum()), "products_own_passes": floor}


def run_flops(graph: CircuitGraph, edges: NDArray[np.bool_]) -> float:
    """Products with weights that a circuit's run cannot do without, each row and input once."""
    a, n_rows = graph.architecture, N_EXAMPLES * N_POS
    is_moved, mlp = moved_by_attention(graph, edges), 2.0 * (3 if a.is_gated else 2) * a.d_model * a.d_mlp
    found = 0.0
    for reader in range(len(graph.readers) - 1):
        writer, place = graph.node_of_reader[reader], reader % graph.readers_per_layer
        rows = n_rows if is_moved[writer] else N_EXAMPLES
        if not edges[:, writer].any():
            continue
        if place == graph.readers_per_layer - 1:
            found += mlp * rows
        else:
            is_query = place % 3 == 0  # each head's output is counted with its query
            found += 2.0 * a.d_model * a.d_head * (rows if is_query else n_rows) * edges[reader].any()
            found += 2.0 * a.d_model * a.d_head * rows * is_query
    return found


def own_pass_flops(a: Architecture) -> float:
    """Products with weights of a clean pass of ours."""
    heads = 4.0 * a.d_model * (a.n_heads + a.n_kv_heads) * a.d_head
    mlp = 2.0 * (3 if a.is_gated else 2) * a.d_model * a.d_mlp
    return N_EXAMPLES * (N_POS * a.n_layers * (heads + mlp) + 2.0 * a.d_model * a.d_vocab)


def in_forwards(times: Times, name: str) -> Row:
    """Seconds, and how many forward passes of the model, and clean passes of ours, these are."""
    seconds, forward, own = (times.best[one] for one in (name, "forward", "own pass"))
    of_both = {"forward_seconds": forward, "own_pass_seconds": own}
    return {"seconds": seconds, **of_both, "forwards": seconds / forward, "own_passes": seconds / own}


def _measure_memory(weights: Weights, threads: int, answers: Any) -> None:
    """In a process of its own, whose peak is these shards'."""
    torch.set_num_threads(threads)
    settings, graph = ShardSettings(BUDGET), CircuitGraph(weights.architecture)
    bench = Bench(weights, prompts(weights.architecture.d_vocab, 2), print, lambda: None, True, 1.0)  # type: ignore[arg-type,return-value]
    bench.scores(bench.spec(score={"method": "attribution"}), settings)
    many = replace(bench, dataset=prompts(weights.architecture.d_vocab, 100))
    cells = CellSlice((0, len(graph.writers)), (0, 2))
    reset_peak()
    before = peak_resident_bytes()
    many.scores(many.spec(score={"method": "integrated", "steps": 2}), settings)
    many.scores(many.spec(score={"method": "exact"}), settings, cells)
    circuits = many.spec(edges={"all": graph.names, "half": graph.names[::2]}, tests=["random"])
    run_shard(weights, circuits, many.dataset, N_POS, "circuits", b"", settings)
    answers.put({"peak_bytes": peak_resident_bytes() - before, "budget_bytes": BUDGET})


def memory(bench: Bench) -> Row:
    """Peak resident memory above the weights: estimates, exact scores and circuit runs of 100 examples."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=_measure_memory, args=(bench.weights, torch.get_num_threads(), answers))
    child.start()
    found: Row = answers.get()
    child.join()
    return found | {"examples": 100, "share_of_budget": found["peak_bytes"] / BUDGET}


def two_workers(bench: Bench, examples: int = 60, rounds: int = 2) -> Row:
    """One exact circuit job of the demo model, as the service cuts it, on one and on two workers of one thread."""
    from benchmarks.stack import stack

    found: Row = {}
    with stack() as processes:
        for names in (("a",), ("a", "b")):
            with processes.workers(*names, THREADS="1"):
                client = processes.service.client
                client.timeout = 120.0  # answers wait for the job
                _job_seconds(client, 2, seed=len(names))
                found[f"{len(names)}_workers_seconds"] = min(
                    _job_seconds(client, examples, seed=10 * len(names) + turn) for turn in range(rounds)
                )
    return found | {"efficiency": found["1_workers_seconds"] / found["2_workers_seconds"] / 2}


def _job_seconds(client: Any, examples: int, seed: int) -> float:
    """From submitting to the end."""
    spec = {
        "model": {"name": "demo"},
        "dataset": {"kind": "ioi", "examples": examples, "seed": seed},
        "patch": {"kind": "circuit", "choose": {"edges": [100]}},
        "metric": LOGITS,
    }
    start = time.perf_counter()
    state = client.post("/v1/jobs", json=spec, headers={"Prefer": "wait=60"}).json()
    while state["status"] in ("queued", "running"):
        time.sleep(0.1)
        state = client.get(state["links"]["self"]).json()
    assert state["status"] == "succeeded", state
    return time.perf_counter() - start


def gpt2(folder: Path, shape: Architecture, share: float) -> Bench:
    """GPT-2's architecture with random weights; the standard way is TransformerLens with hooks."""
    from transformers import AutoModelForCausalLM

    from tests.tiny_models import write_gpt2_folder

    if not (folder / "random" / "config.json").exists():
        write_gpt2_folder(folder / "random", shape, seed=0, scale=SCALE)
    registry = {"random": ModelOrigin(name="random", folder=str(folder / "random"))}
    weights = load_model("random", ModelSpec(name="random"), registry, "cpu", folder / "weights").weights
    model = AutoModelForCausalLM.from_pretrained(folder / "random").eval()
    return Bench(weights, prompts(shape.d_vocab), model, lambda: BridgeOracle(folder / "random"), True, share)


def other_family(family: str, share: float) -> Bench:
    """A Llama of SmolLM2-135M's size with random weights; the standard way is hooks on transformers' own model."""
    from benchmarks.families import CONFIGS, HookedOracle, random_model_of, weights_of

    model = random_model_of(family)
    dataset = prompts(CONFIGS[family]["vocab_size"])
    return Bench(weights_of(model, family), dataset, model, lambda: HookedOracle(model), False, share)


KEYS: dict[str, Callable[[Bench], Row]] = {
    "attribution": lambda bench: estimated(bench, method="attribution"),
    "integrated": lambda bench: estimated(bench, method="integrated", steps=5),
    **{key: lambda bench, size=size: of_circuit(bench, size) for key, size in SIZES.items()},  # type: ignore[misc]
    "memory": memory,
    "two_workers": two_workers,
    "exact_all_edges": exact_all_edges,
}


def verdict(key: str, row: Row) -> tuple[str, str, str]:
    """What was found, the bar, and whether it is met."""
    if key in BARS:
        floor = f", {row['products_own_passes']:.2f} in products it needs" if "products_own_passes" in row else ""
        return (
            f"{row['forwards']:.2f} forwards ({row['own_passes']:.2f} passes of ours{floor})",
            f"at most {BARS[key]:g}",
            "yes" if row["forwards"] <= BARS[key] else "NO",
        )
    if key == "memory":
        sizes = f"peak {row['peak_bytes'] / 2**20:.0f} of {row['budget_bytes'] / 2**20:.0f} MiB"
        return sizes, "the budget", "yes" if row["share_of_budget"] < 1 else "NO"
    names = [name for name in AT_LEAST if name in row]
    is_met = all(row[name] >= AT_LEAST[name] for name in names)
    of_edges = (
        f"{row['seconds']:.0f} s for {row['edges']:,} edges ({row['edges_measured']:,} run), " if "edges" in row else ""
    )
    figures = ", ".join(f"{name.replace('_', ' ')} {row[name]:.2f}" for name in names)
    bars = ", ".join(f"{name.replace('_', ' ')} {AT_LEAST[name]:g}" for name in names)
    return of_edges + figures, f"at least: {bars}", "yes" if is_met else "NO"


def table(found: dict[str, Row]) -> str:
    """One line per key, in Markdown, and what it was measured on."""
    lines = ["| key | found | bar | met |", "|---|---|---|---|"]
    lines += [f"| `{key}` | {' | '.join(verdict(key, found[key]))} |" for key in KEYS if key in found]
    return "\n".join([*lines, "", measured_on(found["machine"])])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="keys to measure, with commas between them; default all")
    parser.add_argument("--family", choices=["llama"], help="a model of another family")
    parser.add_argument("--share", type=float, default=1.0, help="of the edges that exact_all_edges runs")
    parser.add_argument("--page", action="store_true", help="write the table into docs/performance.md")
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the script")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    own = [key for key in KEYS if options.family is None or key != "two_workers"]  # that is of the demo model
    only = options.only.split(",") if options.only else own
    found: dict[str, Row] = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        shape = SMALL if options.small else SHAPE
        bench = (
            other_family(options.family, options.share) if options.family else gpt2(Path(folder), shape, options.share)
        )
        for key in only:
            found[key] = KEYS[key](bench)
            found["machine"] = machine()
            print(f"{key}: {', '.join(verdict(key, found[key])[:2])}", file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))
    if options.page:
        write_table("circuits" if options.family is None else f"circuits_{options.family}", table(found))


if __name__ == "__main__":
    main()
