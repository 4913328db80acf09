"""The engine against the hook-by-hook reference: same random GPT-2-small-sized weights, tokens and threads.

Run: ``python benchmarks/engine.py [--json FILE] [--threads 2] [--only KEY,KEY] [--folder FOLDER]``. Needs the
development environment (TransformerLens). Times are wall seconds, the least of several runs, in which engine, reference
and floor take turns, so that a busy machine slows all of them. A sweep's reference is extrapolated from the cells that
were run, one by one, as the table says; those cells must equal the engine's to 1e-4. ``--json`` replaces the keys that
were measured and keeps the others of the file, so that a long measurement can be done in parts.
"""

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from api_schemas.datasets import ResolvedDataset
from api_schemas.models import ModelOrigin
from api_schemas.nodes import Node
from api_schemas.spec import JobSpec, ModelSpec
from benchmarks.experiments import (
    ATTENTION,
    EXPERIMENTS,
    FOUNDING,
    N_EXAMPLES,
    N_HEADED,
    N_POS,
    QUERY,
    SCALE,
    SHAPE,
    Experiment,
    founding_flops,
    peak_resident_bytes,
    prompts_of,
    prompts_of_lengths,
    random_prompts,
    reset_peak,
    run_once,
    seconds_of,
    spec_of,
    with_header,
)
from benchmarks.page import write_table
from planning.architecture import Architecture
from planning.graph import Graph
from planning.grid import Grid, grid_of
from planning.prompts import prefixes_of
from tests.shards import run_shard
from worker.engine.model import Weights
from worker.engine.runs import clean_runs
from worker.jobs.activation_cache import ActivationCache
from worker.jobs.kind import AssembledResult
from worker.jobs.shard import ShardSettings
from worker.models.loading import load_model

TOLERANCE = 1e-4
NEXT_QUESTION_S = 0.020
SETTINGS = ShardSettings(memory_bytes=2**31)
REPEATED_CELLS = 10
"""More cells of the reference than these are run once each, spread over the rounds."""
ALL_ROWS_SHARE = 0.25
FOUNDING_PATCH = {"senders": FOUNDING, "receivers": QUERY}
KEYS = [*(experiment.key for experiment in EXPERIMENTS), "shared_header", "next_question", "memory", "cold_start"]
Row = dict[str, Any]


class Oracle(Protocol):
    """The same experiments, hook by hook, on the same weights."""

    def cell(self, spec: JobSpec, dataset: ResolvedDataset, senders: list[Node], receivers: list[Node]) -> torch.Tensor:
        """The metric of one cell, per example, clean runs included."""
        ...

    def clean(self, spec: JobSpec, dataset: ResolvedDataset, receiver: Node) -> dict[str, torch.Tensor]:
        """The metric of the two unpatched runs, which a job's result holds too."""
        ...


class BridgeOracle:
    """The reference implementation on TransformerLens' bridge."""

    def __init__(self, folder: Path) -> None:
        from tests import reference
        from tests.bridges import boot_bridge

        self.reference, self.model = reference, boot_bridge(folder)

    def cell(self, spec: JobSpec, dataset: ResolvedDataset, senders: list[Node], receivers: list[Node]) -> torch.Tensor:
        """The reference's own function."""
        orig, new = both_runs(dataset)
        through_mlps = spec.patch.direct_includes_mlps  # type: ignore[union-attr]
        run = self.reference.patch(self.model, orig, new, senders, receivers, direct_includes_mlps=through_mlps)
        return self._metric(spec, dataset, run, receivers[0])

    def clean(self, spec: JobSpec, dataset: ResolvedDataset, receiver: Node) -> dict[str, torch.Tensor]:
        """Of its unpatched runs."""
        return {
            name: self._metric(spec, dataset, self.reference.run(self.model, tokens), receiver)
            for name, tokens in zip(("orig", "new"), both_runs(dataset), strict=True)
        }

    def _metric(self, spec: JobSpec, dataset: ResolvedDataset, run: Any, receiver: Node) -> torch.Tensor:
        head = (receiver.layer, receiver.head)
        return self.reference.metric_values(spec.metric, run, run, dataset.roles, dataset.answers, head)  # type: ignore[arg-type]


def both_runs(dataset: ResolvedDataset) -> torch.Tensor:
    """Token ids (run, example, position), right-padded."""
    padded = [prompt + [0] * (dataset.longest - len(prompt)) for prompt in dataset.orig + dataset.new]
    return torch.tensor(padded).unflatten(0, (2, -1))


class Times:
    """The least seconds of each piece of work, over rounds in which they take turns."""

    def __init__(self) -> None:
        self.best: dict[Any, float] = {}

    def run(self, name: Any, work: Callable[[], Any]) -> Any:
        """Do the work; what it gave."""
        start = time.perf_counter()
        found = work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.best[name] = min(self.best.get(name, np.inf), time.perf_counter() - start)
        return found

    def sum(self, names: Sequence[Any]) -> float:
        return sum(self.best[name] for name in names)


def connected_cells(grid: Grid, architecture: Architecture) -> list[tuple[int, int]]:
    """Cells that some path connects."""
    graph, (n_senders, n_receivers) = Graph(architecture), grid.sizes
    cells = [(sender, receiver) for sender in range(n_senders) for receiver in range(n_receivers)]
    return [
        cell for cell in cells if any(graph.reaches(node, ends_of(grid, cell)[1]) for node in ends_of(grid, cell)[0])
    ]


def ends_of(grid: Grid, cell: tuple[int, int]) -> tuple[list[Node], list[Node]]:
    """Senders and receivers of a cell."""
    assert grid.receivers is not None
    return grid.senders.cells[cell[0]], grid.receivers.cells[cell[1]]


def measure(
    experiment: Experiment,
    weights: Weights,
    oracle: Oracle,
    dataset: ResolvedDataset,
    settings: ShardSettings = SETTINGS,
) -> Row:
    """One bar: the engine's time, the reference's, their ratio, and the largest difference between them."""
    spec, times = spec_of(experiment.patch, experiment.metric, dataset), Times()
    grid = grid_of(spec.patch, weights.architecture, dataset.longest)
    connected = connected_cells(grid, weights.architecture)
    cells = [connected[place] for place in np.linspace(0, len(connected) - 1, experiment.reference_cells).astype(int)]
    values: dict[tuple[int, int], np.ndarray] = {}
    times.run("warm-up", lambda: run_once(weights, spec, dataset, settings))
    for turn in range(experiment.repeats):
        result = times.run("engine", lambda: run_once(weights, spec, dataset, settings))
        if experiment.floor is not None:
            times.run("floor", lambda: floor_of(experiment, weights, dataset))
        few = cells if len(cells) <= REPEATED_CELLS else cells[turn :: experiment.repeats]
        for cell in few:
            values[cell] = times.run(cell, lambda cell=cell: oracle.cell(spec, dataset, *ends_of(grid, cell))).numpy()
        clean = times.run("clean", lambda: oracle.clean(spec, dataset, ends_of(grid, (0, 0))[1][0]))
    n_cells = len(connected) if grid.sizes[1] > 1 else len(grid)
    found = ratios(times, cells, n_cells, is_sweep=len(grid) > 1) | {"reference_cells_measured": len(cells)}
    found |= compared(experiment, result, grid, values, clean)
    if experiment.key == "seed_job" and experiment.patch["receivers"] == QUERY:
        found["matmul_gflops_per_s"] = founding_flops(SHAPE, needed_rows(dataset)) / times.best["floor"] / 1e9
    return found


def compared(
    experiment: Experiment,
    result: AssembledResult,
    grid: Grid,
    values: Mapping[tuple[int, int], np.ndarray],
    clean: Mapping[str, torch.Tensor],
) -> Row:
    """The largest difference from the reference, and the largest effect.

    Raises:
        AssertionError: They differ by more than ``TOLERANCE``.
    """
    n_senders, n_receivers = grid.sizes
    patched = result.arrays["0/patched"].reshape(n_senders, n_receivers, -1)
    difference = max(float(np.abs(patched[cell] - value).max()) for cell, value in values.items())
    is_of_cell = experiment.metric["kind"].startswith("attention") and "head" not in experiment.metric
    if not is_of_cell or n_receivers == 1:
        for run, value in clean.items():
            difference = max(difference, float(np.abs(result.arrays[f"0/{run}"] - value.numpy()).max()))
    assert difference < TOLERANCE, f"{experiment.key} differs from the reference by {difference}"
    orig = result.arrays["0/orig"]
    orig = orig.reshape(patched.shape if orig.size == patched.size else (1, 1, -1))
    return {"max_abs_difference": difference, "largest_effect": float(np.abs(patched - orig).max())}


def ratios(times: Times, cells: Sequence[tuple[int, int]], n_cells: int, is_sweep: bool) -> Row:
    """Times, and how often the engine's goes into the reference's and the floor's into it.

    One cell's reference is a whole job: patched, orig and new. A sweep's is its function once per cell, clean runs
    included, for all senders (of edges, the connected ones only); ``strict_ratio`` shares the clean runs of all cells,
    and leaves them out for one cell.
    """
    engine_s, clean_s, per_cell_s = times.best["engine"], times.best["clean"], times.sum(cells) / len(cells)
    reference_s = per_cell_s * n_cells + (0 if is_sweep else clean_s)
    strict_s = (per_cell_s - clean_s) * n_cells + clean_s if is_sweep else per_cell_s
    found = {"cells": n_cells, "seconds": engine_s, "reference_seconds": reference_s}
    found |= {"ratio": reference_s / engine_s, "strict_ratio": strict_s / engine_s}
    return found | floor_ratio(times)


def floor_ratio(times: Times) -> Row:
    """The floor's seconds, if it was measured, and how often they go into the engine's."""
    if "floor" not in times.best:
        return {}
    return {"floor_seconds": times.best["floor"], "floor_ratio": times.best["engine"] / times.best["floor"]}


def floor_of(experiment: Experiment, weights: Weights, dataset: ResolvedDataset) -> None:
    """What the experiment cannot do without: its layers' products, or two clean runs."""
    if experiment.key.startswith("seed_job"):
        founding_products(weights, needed_rows(dataset), experiment.patch["receivers"][0]["layer"])
    else:
        clean_forwards(weights, dataset)


def needed_rows(dataset: ResolvedDataset) -> int:
    """Rows of both runs of which no other is the same: no padding, and no beginning twice."""
    return len(prefixes_of([*dataset.orig, *dataset.new]))


def founding_products(weights: Weights, n_rows: int, n_layers: int) -> None:
    """The products of the layers below the receiver, and nothing between them."""
    shape = weights.architecture
    rows = torch.ones(n_rows, shape.d_model, device=weights.device)
    z = torch.ones(n_rows, shape.n_heads * shape.d_head, device=weights.device)
    with torch.no_grad():
        for layer in range(n_layers):
            rows @ weights.QKV[0][layer]
            z @ weights.W_O[layer].flatten(end_dim=1)
            if weights.W_gate is not None:
                rows @ weights.W_gate[layer]
            (rows @ weights.W_in[layer]) @ weights.W_out[layer]


def clean_forwards(weights: Weights, dataset: ResolvedDataset) -> None:
    """Both runs to the last residual stream."""
    with torch.no_grad():
        clean_runs(weights, dataset.orig, dataset.new).get("resid_pre", weights.architecture.n_layers)


def shared_header(weights: Weights, oracle: Oracle) -> Row:
    """The founding experiment on prompts with one long header, beside the products of all their rows.

    An engine that computes every row cannot be faster than those.
    """
    dataset, layer = with_header(prompts_of_lengths((N_POS,) * N_HEADED)), QUERY[0]["layer"]
    spec, times, few = spec_of(FOUNDING_PATCH, ATTENTION, dataset), Times(), dataset.slice(0, 2)
    times.run("all rows", lambda: founding_products(weights, dataset.tokens, layer))
    for _ in range(2):
        result = times.run("engine", lambda: run_once(weights, spec, dataset, SETTINGS))
        times.run("floor", lambda: founding_products(weights, needed_rows(dataset), layer))
    wanted = oracle.cell(
        spec_of(FOUNDING_PATCH, ATTENTION, few), few, *ends_of(grid_of(spec.patch, SHAPE, few.longest), (0, 0))
    )
    difference = float(np.abs(result.arrays["0/patched"][:2] - wanted.numpy()).max())
    assert difference < TOLERANCE, f"shared_header differs from the reference by {difference}"
    engine_s, all_rows = times.best["engine"], times.best["all rows"]
    found = {"seconds": engine_s, "all_rows_seconds": all_rows, "share_of_all_rows": engine_s / all_rows}
    return found | floor_ratio(times) | {"max_abs_difference": difference}


def next_question(weights: Weights, dataset: ResolvedDataset, founding: Mapping[str, Any] = FOUNDING_PATCH) -> Row:
    """Other receivers on the same prompts, whose activations the founding experiment has left in the cache."""
    settings = replace(SETTINGS, activation_cache=ActivationCache(2**30))
    run_once(weights, spec_of(dict(founding), ATTENTION, dataset), dataset, settings)
    times, last = {}, founding["receivers"][0]["layer"]
    senders = [{"hook": "z", "layer": last - 2, "head": 6}, {"hook": "z", "layer": last - 3, "head": 8}]
    for layer, head in ((last, 6), (last, 0), (last - 1, 6)):
        receivers = [{"hook": "q", "layer": layer, "head": head}]
        spec = spec_of({"senders": senders, "receivers": receivers}, ATTENTION, dataset)
        times[f"{layer}.{head}"] = seconds_of(lambda spec=spec: run_once(weights, spec, dataset, settings))
    return {"seconds": max(times.values()), "by_receiver": times, "bar_seconds": NEXT_QUESTION_S}


def _measure_memory(weights: Weights, budget: int, n_examples: int, threads: int, answers: Any) -> None:
    """In a process of its own, whose peak is this sweep's."""
    torch.set_num_threads(threads)
    dataset, warm = (random_prompts(n, weights.architecture.d_vocab) for n in (n_examples, 2))
    sweep = next(experiment for experiment in EXPERIMENTS if experiment.key == "sweep_query_skip")
    settings = ShardSettings(memory_bytes=budget)
    assert weights.QKV
    run_once(weights, spec_of(sweep.patch, sweep.metric, warm), warm, settings)
    spec = spec_of(sweep.patch, sweep.metric, dataset)
    reset_peak()
    before = peak_resident_bytes()
    seconds = seconds_of(lambda: run_shard(weights, spec, dataset, N_POS, "patch", b"", settings))
    answers.put({"peak_bytes": peak_resident_bytes() - before, "budget_bytes": budget, "seconds": seconds})


def memory(weights: Weights, budget: int = 2**30, n_examples: int = 1000) -> Row:
    """Peak resident memory above the weights of a sweep of all heads over many examples."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    arguments = (weights, budget, n_examples, torch.get_num_threads(), answers)
    child = context.Process(target=_measure_memory, args=arguments)
    child.start()
    found: Row = answers.get()
    child.join()
    return found | {"examples": n_examples, "share_of_budget": found["peak_bytes"] / budget}


def cold_start(folder: Path, data_dir: Path) -> Row:
    """From the start of a worker process to the result of the first job, on weights that were processed before."""
    from job_store.records import JobFacts, NewJob
    from job_store.store import JobStore
    from tests.embedded_valkey import embedded_valkey
    from tests.live_worker import LiveWorker, demo_job, ended
    from tests.nudges import nudge
    from tests.stored_jobs import submit
    from worker.models.checkpoints import find_checkpoint

    dataset = random_prompts(N_EXAMPLES)
    spec = spec_of(FOUNDING_PATCH, ATTENTION, dataset)
    revision = find_checkpoint("random", {"random": ModelOrigin(name="random", folder=str(folder))}).revision
    job_id = demo_job().id
    facts = JobFacts(N_POS, N_EXAMPLES, 1e9, "d" * 64, job_id, revision)
    settings = {"MODELS": f"random={folder}", "PRELOAD": "random", "THREADS": str(torch.get_num_threads())}
    settings["DATA_DIR"] = str(data_dir)
    with embedded_valkey(data_dir) as valkey:
        worker, store = LiveWorker(valkey.url, data_dir, "cold", **settings), JobStore.connect(valkey.url)
        submit(store, NewJob(job_id, spec, facts, (dataset.model_dump_json(),)))
        nudge(valkey.url, "random")
        start = time.perf_counter()
        worker.start()
        try:
            record = ended(store, job_id)
            seconds = time.perf_counter() - start
        finally:
            worker.stop()
            store.close()
    assert record.status == "succeeded", record.error_detail
    with_imports = [sys.executable, "-c", "import torch"]
    return {"seconds": seconds, "import_torch_seconds": seconds_of(lambda: subprocess.run(with_imports, check=True))}  # noqa: S603


def bar_of(key: str, row: Row, experiments: Sequence[Experiment]) -> tuple[str, bool | None]:
    """The bar in words, and whether it is met; None where there is none."""
    if key == "next_question":
        return f"under {1000 * NEXT_QUESTION_S:.0f} ms", row["seconds"] < NEXT_QUESTION_S
    if key == "shared_header":
        return f"{ALL_ROWS_SHARE:g}x all rows' products", row["share_of_all_rows"] <= ALL_ROWS_SHARE
    if key == "memory":
        return "under the budget", row["peak_bytes"] < row["budget_bytes"]
    bars = {experiment.key: experiment for experiment in experiments}
    if key not in bars:
        return "", None
    words, met = [], True
    if (at_least := bars[key].at_least) is not None:
        words, met = [f"{at_least:g}x"], row["ratio"] >= at_least
    if (strict := bars[key].strict) is not None:
        words, met = [*words, f"strict {strict:g}x"], met and row["strict_ratio"] >= strict
    if (floor := bars[key].floor) is not None:
        words, met = [*words, f"floor {floor:g}"], met and row["floor_ratio"] <= floor
    return ", ".join(words), met


def table(found: dict[str, Row], experiments: Sequence[Experiment] = EXPERIMENTS) -> str:
    """One line per key, in Markdown, and what it was measured on."""
    columns = ["key", "cells", "engine, s", "reference, s", "ratio", "strict ratio", "floor ratio"]
    columns += ["largest difference", "bar", "met"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for key in [key for key in KEYS if key in found]:
        row = found[key]
        words, met = bar_of(key, row, experiments)
        verdict = "" if met is None else "yes" if met else "NO"
        lines.append("| " + " | ".join([f"`{key}`", *cells_of_row(key, row), words, verdict]) + " |")
    return "\n".join([*lines, "", measured_on(found["machine"])])


def measured_on(machine: Row) -> str:
    """The machine in a sentence."""
    versions = f"Python {machine['python']}, torch {machine['torch']}, numpy {machine['numpy']}"
    cores = f"{machine['cores']} cores of an {machine['processor']}, {machine['threads']} threads"
    return f"{cores}; {versions}; {machine['date']}."


def cells_of_row(key: str, row: Row) -> list[str]:
    """The numbers of a line of the table."""
    if key == "shared_header":
        share, floor = f"{row['share_of_all_rows']:.2f}x", f"{row['floor_ratio']:.2f}"
        times = [f"{row['seconds']:.3f}", f"{row['all_rows_seconds']:.1f} (products)"]
        return ["1", *times, share, "", floor, f"{row['max_abs_difference']:.1e}"]
    if "ratio" not in row:
        seconds = f"{row['seconds']:.4f}" if row["seconds"] < 1 else f"{row['seconds']:.1f}"
        mib = [f"{row[name] / 2**20:.0f}" for name in ("peak_bytes", "budget_bytes") if key == "memory"]
        return ["", seconds, f"peak {mib[0]} of {mib[1]} MiB" if mib else "", "", "", "", ""]
    few = "" if row["cells"] == 1 else f" (from {row['reference_cells_measured']})"
    floor = f"{row['floor_ratio']:.2f}" if "floor_ratio" in row else ""
    times = [f"{row['seconds']:.3f}", f"{row['reference_seconds']:.1f}{few}"]
    ratios = [*(f"{round(row[name], 1 if row[name] < 100 else None):,}x" for name in ("ratio", "strict_ratio")), floor]
    return [str(row["cells"]), *times, *ratios, f"{row['max_abs_difference']:.1e}"]


def machine() -> Row:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="keys to measure, with commas between them; default all")
    parser.add_argument("--folder", type=Path, help="keep the random checkpoint and its processed weights here")
    parser.add_argument("--page", action="store_true", help="write the table into docs/performance.md")
    parser.add_argument("--family", choices=["llama"], help="a model of another family, against hooks on transformers")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    only, experiments = options.only.split(",") if options.only else [], EXPERIMENTS
    if options.family is not None:
        from benchmarks import families

        experiments, found = families.EXPERIMENTS, families.measure_family(options.family, only)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            found = measure_all(only, options.folder or Path(temporary))
    found["machine"] = machine()
    if options.json:
        known = json.loads(options.json.read_text()) if only and options.json.exists() else {}
        found = {**known, **found}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found, experiments))
    if options.page:
        write_table("engine" if options.family is None else f"engine_{options.family}", table(found, experiments))


def measure_all(only: Sequence[str], folder: Path) -> dict[str, Row]:
    """The keys asked for, or all."""
    model, weights_dir = folder / "random", folder / "weights"
    if not (model / "config.json").exists():
        from tests.tiny_models import write_gpt2_folder

        write_gpt2_folder(model, SHAPE, seed=0, scale=SCALE)
    registry = {"random": ModelOrigin(name="random", folder=str(model))}
    weights = load_model("random", ModelSpec(name="random"), registry, "cpu", weights_dir).weights
    work: dict[str, Callable[[], Row]] = {}
    chosen = [experiment for experiment in EXPERIMENTS if not only or experiment.key in only]
    if chosen or "shared_header" in only:
        oracle = BridgeOracle(model)
        work |= {e.key: lambda e=e: measure(e, weights, oracle, prompts_of(e)) for e in chosen}  # type: ignore[misc]
        work["shared_header"] = lambda: shared_header(weights, oracle)
    work["next_question"] = lambda: next_question(weights, random_prompts(N_EXAMPLES))
    work["memory"] = lambda: memory(weights)
    work["cold_start"] = lambda: cold_start(model, folder)
    return measured_keys(work, only)


def measured_keys(work: Mapping[str, Callable[[], Row]], only: Sequence[str]) -> dict[str, Row]:
    """The keys asked for, or all, one after the other."""
    found = {}
    for key, measured in work.items():
        if not only or key in only:
            found[key] = measured()
            print(f"{key}: {found[key]['seconds']:.3f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
