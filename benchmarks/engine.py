"""The engine against the hook-by-hook reference: same random GPT-2-small-sized weights, tokens and threads.

Run: ``python -m benchmarks.engine [--json FILE] [--threads 2] [--only KEY ...]``. Needs the development environment
(TransformerLens). A sweep of the reference is extrapolated from a few cells, and the table says from how many; those
cells must equal the engine's to 1e-4. Times are the best of several runs, reference and engine in turn.
"""

import argparse
import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from api_schemas.datasets import ResolvedDataset
from api_schemas.grid import grid_of
from api_schemas.models import FAMILY, ModelOrigin
from api_schemas.spec import JobSpec, ModelSpec
from worker.engine.activations import ActivationCache, Activations, stack_tokens
from worker.engine.weights import GPT2Weights
from worker.experiment import AssembledResult, ShardSettings, assemble, run_shard
from worker.models import load_model

SHAPE = FAMILY["gpt2-small"][1]
N_EXAMPLES, N_POS = 20, 16
SCALE = 0.05
TOLERANCE = 1e-4
HEADS: dict[str, Any] = {"sweep": {"hook": "z"}}
ATTENTION = {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"}
LOGITS = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
QUERY = [{"hook": "q", "layer": 10, "head": 7}]
FOUNDING = [{"hook": "z", "layer": layer, "head": head} for layer, head in ((9, 6), (9, 9), (10, 10))]
VALUES = [{"hook": "v", "layer": layer, "head": head} for layer, head in ((7, 3), (7, 9), (8, 6), (8, 10))]


@dataclass(frozen=True)
class Experiment:
    """One bar of the project: a spec, how many reference cells stand for all, and how often to repeat."""

    key: str
    patch: dict[str, Any]
    metric: dict[str, Any]
    reference_cells: int
    bar: float
    repeats: int = 3


EXPERIMENTS = [
    Experiment("seed_job", {"senders": FOUNDING, "receivers": QUERY}, ATTENTION, 1, 4, repeats=7),
    Experiment("sweep_query_skip", {"senders": HEADS, "receivers": QUERY}, ATTENTION, 4, 150, repeats=5),
    Experiment(
        "sweep_query_mlps", {"senders": HEADS, "receivers": QUERY, "direct_includes_mlps": True}, ATTENTION, 4, 100
    ),
    Experiment(
        "sweep_logits_mlps",
        {"senders": HEADS, "receivers": [{"hook": "resid_post", "layer": 11}], "direct_includes_mlps": True},
        LOGITS,
        4,
        100,
    ),
    Experiment("sweep_values_logits", {"senders": HEADS, "receivers": VALUES}, LOGITS, 4, 10, repeats=2),
    Experiment("edges", {"senders": HEADS, "receivers": {"sweep": {"hook": ["q", "k"]}}}, ATTENTION, 50, 5),
]


def random_prompts(n_examples: int, seed: int = 0) -> ResolvedDataset:
    """Random tokens, with the roles and answers of IOI prompts."""
    tokens = np.random.default_rng(seed).integers(0, SHAPE.d_vocab, (2, n_examples, N_POS))
    orig, new = tokens.tolist()
    return ResolvedDataset(
        orig=orig,
        new=new,
        roles={"IO": [2] * n_examples, "S1": [4] * n_examples, "end": [N_POS - 1] * n_examples},
        answers={"IO": [prompt[2] for prompt in orig], "S": [prompt[4] for prompt in orig]},
    )


def spec_of(experiment: Experiment, dataset: ResolvedDataset) -> JobSpec:
    tokens = dataset.model_dump(exclude={"start"})
    fields = {"model": {"name": "random"}, "dataset": {"kind": "tokens", **tokens}, "output": {"per_example": True}}
    return JobSpec.model_validate({**fields, "patch": experiment.patch, "metric": experiment.metric})


def best_time(work: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def run_once(weights: GPT2Weights, spec: JobSpec, dataset: ResolvedDataset, settings: ShardSettings) -> AssembledResult:
    """From tokens to the result, checks included."""
    output = run_shard(weights, spec, dataset, N_POS, "patch", {}, settings)
    return assemble(spec, weights.shape, N_POS, len(dataset), {}, [output])


def matmul_flops_per_s(seconds: float = 1.0) -> float:
    """The machine's rate for the MLP's product at the founding experiment's size."""
    rows, weight = torch.randn(2 * N_EXAMPLES * N_POS, SHAPE.d_model), torch.randn(SHAPE.d_model, SHAPE.d_mlp)
    flops = 2 * rows.numel() * SHAPE.d_mlp
    best, begin = 1.0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        best = min(best, best_time(lambda: rows @ weight, 3))
    return flops / best


def founding_flops() -> float:
    """Products that the founding experiment cannot do without: ten layers of both runs, then one head's keys."""
    rows, width = 2 * N_EXAMPLES * N_POS, SHAPE.d_model
    per_row = 2 * width * (4 * width + 2 * SHAPE.d_mlp) + 4 * N_POS * width
    return rows * (10 * per_row + 2 * width * SHAPE.d_head)


class Oracle:
    """The reference implementation on the same weights."""

    def __init__(self, folder: Path) -> None:
        from tests import reference
        from tests.bridges import boot_bridge

        self.reference, self.model = reference, boot_bridge(folder)

    def cell(self, spec: JobSpec, dataset: ResolvedDataset, place: tuple[int, int]) -> torch.Tensor:
        """The metric of one cell, per example."""
        grid = grid_of(spec.patch, SHAPE, N_POS)
        assert grid.receivers is not None
        senders, receivers = grid.senders.cells[place[0]], grid.receivers.cells[place[1]]
        orig, new = torch.tensor(dataset.orig), torch.tensor(dataset.new)
        through_mlps = spec.patch.direct_includes_mlps  # type: ignore[union-attr]
        run = self.reference.patch(self.model, orig, new, senders, receivers, direct_includes_mlps=through_mlps)
        head = (receivers[0].layer, receivers[0].head)
        return self.reference.metric_values(spec.metric, run, run, dataset.roles, dataset.answers, head)  # type: ignore[arg-type]


def sampled_cells(spec: JobSpec, count: int) -> list[tuple[int, int]]:
    """Cells spread over the grid, of those that a path connects."""
    grid = grid_of(spec.patch, SHAPE, N_POS)
    assert grid.receivers is not None
    n_receivers = len(grid.receivers.cells)
    cells = [divmod(cell, n_receivers) for cell in range(len(grid))]
    cells = [cell for cell in cells if grid.is_reachable(*cell)]
    return [cells[place] for place in np.linspace(0, len(cells) - 1, count).astype(int)]


def measure(experiment: Experiment, weights: GPT2Weights, oracle: Oracle, dataset: ResolvedDataset) -> dict[str, Any]:
    """One bar: the engine's time, the reference's, their ratio, and the largest difference between them."""
    spec = spec_of(experiment, dataset)
    settings = ShardSettings(memory_bytes=2**31, device="cpu")
    result = run_once(weights, spec, dataset, settings)
    cells = sampled_cells(spec, experiment.reference_cells)
    n_cells = len(grid_of(spec.patch, SHAPE, N_POS))
    values = result.arrays["0/patched"].reshape(n_cells, N_EXAMPLES)
    n_receivers = n_cells // (144 if experiment.patch["senders"] is HEADS else 1)
    difference, reference_s, expected = 0.0, 0.0, []
    for cell in cells:
        start = time.perf_counter()
        expected.append(oracle.cell(spec, dataset, cell).numpy())
        reference_s += time.perf_counter() - start
    if experiment.reference_cells == 1:
        reference_s = min(reference_s, best_time(lambda: oracle.cell(spec, dataset, cells[0]), 3))
    for (sender, receiver), value in zip(cells, expected, strict=True):
        difference = max(difference, float(np.abs(values[sender * n_receivers + receiver] - value).max()))
    assert difference < TOLERANCE, f"{experiment.key} differs from the reference by {difference}"
    seconds = best_time(lambda: run_once(weights, spec, dataset, settings), experiment.repeats)
    reference_s *= n_cells / len(cells)
    found = {
        "cells": n_cells,
        "seconds": seconds,
        "reference_seconds": reference_s,
        "reference_cells_measured": len(cells),
        "ratio": reference_s / seconds,
        "max_abs_difference": difference,
    }
    if experiment.key == "seed_job":
        rate = matmul_flops_per_s()
        seconds = min(seconds, best_time(lambda: run_once(weights, spec, dataset, settings), experiment.repeats))
        found |= {"seconds": seconds, "ratio": reference_s / seconds}
        found |= {"floor_seconds": founding_flops() / rate, "matmul_gflops_per_s": rate / 1e9}
        found["floor_ratio"] = seconds / found["floor_seconds"]
    if experiment.key == "edges":
        found["floor_seconds"] = best_time(lambda: clean_forwards(weights, dataset), 3)
        found["floor_ratio"] = seconds / found["floor_seconds"]
    return found


def clean_forwards(weights: GPT2Weights, dataset: ResolvedDataset) -> None:
    """Both runs to the last residual stream."""
    with torch.no_grad():
        tokens = stack_tokens(dataset.orig, dataset.new, weights.device)
        Activations(weights, tokens).get("resid_pre", weights.n_layers)


def next_question(weights: GPT2Weights, dataset: ResolvedDataset) -> dict[str, Any]:
    """Another receiver on the same prompts, whose activations the first job has left in the cache."""
    settings = ShardSettings(memory_bytes=2**31, device="cpu", activation_cache=ActivationCache(2**30))
    run_once(weights, spec_of(EXPERIMENTS[0], dataset), dataset, settings)
    times = {}
    for layer, head in ((10, 6), (10, 0), (9, 6)):
        senders = [{"hook": "z", "layer": 8, "head": 6}, {"hook": "z", "layer": 7, "head": 9}]
        receivers = [{"hook": "q", "layer": layer, "head": head}]
        spec = spec_of(Experiment("", {"senders": senders, "receivers": receivers}, ATTENTION, 1, 0), dataset)
        start = time.perf_counter()
        run_once(weights, spec, dataset, settings)
        times[f"{layer}.{head}"] = time.perf_counter() - start
    return {"seconds": max(times.values()), "by_receiver": times}


def peak_resident_bytes() -> int:
    """The process's largest resident memory since it was last reset (Linux)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _measure_memory(weights: GPT2Weights, budget: int, n_examples: int, threads: int, answers: Any) -> None:
    """In a process of its own, whose peak is this sweep's."""
    torch.set_num_threads(threads)
    dataset = random_prompts(n_examples)
    spec = spec_of(EXPERIMENTS[1], dataset)
    assert weights.W_QKV.numel()
    settings = ShardSettings(memory_bytes=budget, device="cpu")
    warm = random_prompts(2)
    run_once(weights, spec_of(EXPERIMENTS[1], warm), warm, settings)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = peak_resident_bytes()
    start = time.perf_counter()
    run_shard(weights, spec, dataset, N_POS, "patch", {}, settings)
    answers.put(
        {"peak_bytes": peak_resident_bytes() - before, "budget_bytes": budget, "seconds": time.perf_counter() - start}
    )


def memory(weights: GPT2Weights, threads: int, budget: int = 2**30, n_examples: int = 1000) -> dict[str, Any]:
    """Peak resident memory above the weights of a 144-head sweep over many examples."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=_measure_memory, args=(weights, budget, n_examples, threads, answers))
    child.start()
    found: dict[str, Any] = answers.get()
    child.join()
    return found | {"examples": n_examples, "share_of_budget": found["peak_bytes"] / found["budget_bytes"]}


def print_table(found: dict[str, dict[str, Any]]) -> None:
    """The bars, one line each."""
    print(f"{'key':<22}{'seconds':>9}{'reference':>11}{'ratio':>9}{'bar':>6}{'floor':>7}  difference")
    for experiment in EXPERIMENTS:
        row = found.get(experiment.key)
        if row is None:
            continue
        extrapolated = "" if row["cells"] == 1 else f"  (reference from {row['reference_cells_measured']} cells)"
        floor = f"{row['floor_ratio']:.2f}" if "floor_ratio" in row else ""
        print(
            f"{experiment.key:<22}{row['seconds']:>9.3f}{row['reference_seconds']:>11.1f}{row['ratio']:>9.1f}"
            f"{experiment.bar:>6.0f}{floor:>7}  {row['max_abs_difference']:.1e}{extrapolated}"
        )
    if "next_question" in found:
        print(f"next_question: {1000 * found['next_question']['seconds']:.1f} ms (bar 20 ms)")
    if "memory" in found:
        row = found["memory"]
        print(f"memory: peak {row['peak_bytes'] / 2**20:.0f} MiB of a budget of {row['budget_bytes'] / 2**20:.0f} MiB")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="keys to measure; default all")
    parser.add_argument("--folder", type=Path, help="keep the random checkpoint here, for the next time")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "random"
        if not (folder / "config.json").exists():
            from tests.tiny_models import write_gpt2_folder

            write_gpt2_folder(folder, SHAPE, seed=0, scale=SCALE)
        registry = {"random": ModelOrigin(name="random", folder=str(folder))}
        weights = load_model("random", ModelSpec(name="random"), registry, "cpu", Path(temporary) / "cache").weights
        oracle, dataset, found = Oracle(folder), random_prompts(N_EXAMPLES), {}
        for experiment in EXPERIMENTS:
            if not options.only or experiment.key in options.only:
                found[experiment.key] = measure(experiment, weights, oracle, dataset)
        if not options.only or "next_question" in options.only:
            found["next_question"] = next_question(weights, dataset)
        if not options.only or "memory" in options.only:
            found["memory"] = memory(weights, options.threads)
    print_table(found)
    if options.json:
        machine = {"processor": platform.processor(), "threads": options.threads, "torch": torch.__version__}
        bars = {experiment.key: asdict(experiment)["bar"] for experiment in EXPERIMENTS}
        options.json.write_text(json.dumps({**found, "machine": machine, "bars": bars}, indent=2))


if __name__ == "__main__":
    main()
