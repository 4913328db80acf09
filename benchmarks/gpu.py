"""The engine on one device: first that it gives the CPU's numbers, then its speed, share of the matmul rate and memory.

Run on a machine with a GPU: ``python benchmarks/gpu.py [--json FILE] [--models gpt2 llama llama-8b] [--circuits]
[--hooks]``. Needs torch, numpy and pydantic (the engine's own records), nothing else; weights are random, made with
torch. ``--circuits`` and ``--hooks`` need transformers and safetensors too: the first scores every edge of GPT-2 small,
the second runs the Llama beside PyTorch hooks on transformers' own model, on the same device. The same steps run on a
CPU, on small models, with ``--device cpu --tiny --examples 8``.
"""

import argparse
import json
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


from api_schemas.datasets import ResolvedDataset
from benchmarks.experiments import (
    EXPERIMENTS,
    LLAMA,
    LLAMA_8B,
    LOGITS,
    N_EXAMPLES,
    SHAPE,
    Experiment,
    peak_resident_bytes,
    prompts_of_lengths,
    random_prompts,
    random_weights,
    reset_peak,
    run_once,
    seconds_of,
    spec_of,
)
from benchmarks.families import experiments_on
from benchmarks.page import write_table
from planning.architecture import Architecture
from tests.shards import run_job
from worker.engine.model import Weights
from worker.jobs.shard import ShardSettings

TOLERANCE = 1e-4
COMPARED_EXAMPLES = 8
HOOKED_EXAMPLES = 100
DTYPES = ("float32", "tf32", "bfloat16")
TINY = Architecture(n_layers=12, n_heads=12, d_model=48, d_mlp=96, n_ctx=32, d_vocab=101)
TINY_CIRCUITS = Architecture(n_layers=3, n_heads=4, d_model=64, d_mlp=128, n_ctx=32, d_vocab=101)
_TINY_SIZES: dict[str, Any] = {"d_model": 36, "d_mlp": 48, "n_ctx": 32, "d_vocab": 101}
CIRCUITS: dict[str, dict[str, Any]] = {
    "attribution": {"score": {"method": "attribution"}},
    "integrated": {"score": {"method": "integrated", "steps": 5}},
    "exact_all_edges": {"score": {"method": "exact"}},
}
CIRCUIT_SIZES = [100, 1000]
Row = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A model to measure, and on what."""

    shape: Architecture
    tiny: Architecture
    experiments: list[Experiment]
    examples: int | None = None
    """None: as many as asked for."""
    is_rounded: bool = False
    """Whether its weights are made in bfloat16, on the device; a CPU would take too long to compare."""


MODELS = {
    "gpt2": Model(SHAPE, TINY, EXPERIMENTS),
    "llama": Model(LLAMA, replace(LLAMA, **_TINY_SIZES), experiments_on(LLAMA)),
    "llama-8b": Model(
        LLAMA_8B, replace(LLAMA_8B, **_TINY_SIZES), experiments_on(LLAMA_8B)[:4], examples=100, is_rounded=True
    ),
}


def is_gpu(device: str) -> bool:
    return device.startswith("cuda")


def wait_for(device: str) -> None:
    """Until everything that was asked of the device is done."""
    if is_gpu(device):
        torch.cuda.synchronize(device)


def matmul_rate(device: str, dtype: str, size: int) -> float:
    """Measured FLOP/s of one square product, the best of several."""
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    one, two = torch.randn(2, size, size, device=device, dtype=kind)

    def product() -> None:
        one @ two
        wait_for(device)

    best = min(seconds_of(product) for _ in range(8))
    torch.set_float32_matmul_precision("highest")
    return 2 * size**3 / best


def check_against_cpu(experiments: Sequence[Experiment], weights: Weights, device: str) -> dict[str, float]:
    """Largest difference between the device and the CPU, per experiment.

    Raises:
        SystemExit: Some difference is above the tolerance: no speed is worth measuring.
    """
    differences, on_device = {}, weights.to(device)
    for experiment in experiments:
        dataset = prompts_for(experiment, COMPARED_EXAMPLES, weights.architecture)
        spec = spec_of(experiment.patch, experiment.metric, dataset)
        wanted, found = (
            run_once(own, spec, dataset, ShardSettings(memory_bytes=2**30)).arrays["0/patched"]
            for own in (weights, on_device)
        )
        differences[experiment.key] = difference = float(np.abs(wanted - found).max())
        if not difference < TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise SystemExit(f"{experiment.key} on {device} differs from the CPU by {difference:.3g}")
    return differences


def prompts_for(experiment: Experiment, n_examples: int, shape: Architecture) -> ResolvedDataset:
    """So many prompts with the experiment's lengths, over and over."""
    lengths = (experiment.lengths * -(-n_examples // N_EXAMPLES))[:n_examples]
    return prompts_of_lengths(lengths, experiment.shared, shape.d_vocab)


def peak_of(device: str, work: Callable[[], Any]) -> int:
    """Largest memory during the work, above what was held before: the device's, or the process's on a CPU."""
    if is_gpu(device):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    reset_peak()
    before = peak_resident_bytes()
    work()
    return peak_resident_bytes() - before


def waits_of(device: str, work: Callable[[], Any]) -> list[str] | None:
    """Lines that make the host wait for a GPU, of one call; the last of them reads the numbers."""
    if not is_gpu(device):
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    lines = [warning for warning in found if "synchronizing" in str(warning.message)]
    return [f"{Path(warning.filename).name}:{warning.lineno}" for warning in lines]


def measure(
    experiment: Experiment, weights: Weights, settings: ShardSettings, n_examples: int, dtype: str, rate: float
) -> Row:
    """Seconds from tokens to the result, checks included, and what they were spent on."""
    dataset, device = prompts_for(experiment, n_examples, weights.architecture), str(weights.device)
    spec = spec_of(experiment.patch, experiment.metric, dataset, dtype, per_example=False)

    def work() -> Any:
        found = run_once(weights, spec, dataset, settings)
        wait_for(device)
        return found

    with FlopCounterMode(display=False) as counter:  # also the warm-up
        result = work()
    peak = peak_of(device, work)
    seconds = min(seconds_of(work) for _ in range(2))
    flops = counter.get_total_flops()
    return {
        "seconds": seconds,
        "examples": n_examples,
        "flops": flops,
        "share_of_matmul_rate": flops / seconds / rate,
        "peak_bytes": peak,
        "max_abs_deviation": result.checks["dtype_max_abs"],
        "waits": waits_of(device, work),
    }


def measure_model(model: Model, options: argparse.Namespace, settings: ShardSettings, rates: dict[str, float]) -> Row:
    """The comparison, and every experiment in every precision."""
    device, shape = options.device, model.tiny if options.tiny else model.shape
    experiments = [one for one in model.experiments if not options.only or one.key in options.only]
    compared: dict[str, float] = {}
    if model.is_rounded:
        weights, dtypes = random_weights(shape, device=device, dtype=torch.bfloat16), ["bfloat16"]
    else:
        weights, dtypes = random_weights(shape), options.dtypes
        compared = check_against_cpu(experiments, weights, device)
    on_device, rows = weights.to(device), {}
    for experiment in experiments:
        rows[experiment.key] = {
            dtype: measure(experiment, on_device, settings, model.examples or options.examples, dtype, rates[dtype])
            for dtype in dtypes
        }
        said = ", ".join(f"{dtype} {row['seconds']:.3f} s" for dtype, row in rows[experiment.key].items())
        print(f"  {experiment.key}: {said}", file=sys.stderr, flush=True)
    return {"max_abs_difference_to_cpu": compared, "experiments": rows}


def measure_circuits(shape: Architecture, settings: ShardSettings, device: str, examples: int = 10) -> dict[str, Row]:
    """Whole circuit jobs on all edges: scores, a greedy choice of two sizes, and the chosen circuits' runs.

    Raises:
        AssertionError: A small model's scores or faithfulness differ from the CPU's.
    """
    weights, found = random_weights(shape).to(device), {}
    small = random_weights(TINY_CIRCUITS)
    for key, score in CIRCUITS.items():
        spec, dataset = circuit_job(score, small.architecture, examples)
        wanted = run_job(small, spec, dataset, settings=settings).arrays
        got = run_job(small.to(device), spec, dataset, settings=settings).arrays
        worst = max(
            float(np.abs(np.asarray(wanted[name]) - np.asarray(got[name])).max()) for name in numbers_in(wanted)
        )
        assert worst < TOLERANCE, f"{key} differs from the CPU by {worst}"
        spec, dataset = circuit_job(score, shape, examples)

        def work(spec: Any = spec, dataset: ResolvedDataset = dataset) -> Any:
            return run_job(weights, spec, dataset, settings=settings)

        if key != "exact_all_edges":
            work()
        found[key] = {"seconds": seconds_of(work), "examples": examples, "max_abs_difference_to_cpu": worst}
        print(f"  {key}: {found[key]['seconds']:.2f} s", file=sys.stderr, flush=True)
    return found


def circuit_job(score: dict[str, Any], shape: Architecture, examples: int) -> tuple[Any, ResolvedDataset]:
    """Its spec and prompts."""
    dataset = random_prompts(examples, shape.d_vocab)
    patch = {"kind": "circuit", **score, "choose": {"by": "greedy", "edges": CIRCUIT_SIZES}}
    return spec_of(patch, LOGITS, dataset, per_example=False), dataset


def numbers_in(arrays: dict[str, Any]) -> list[str]:
    """Names of the arrays that hold measured values."""
    return [name for name, values in arrays.items() if np.asarray(values).dtype.kind == "f"]


def measure_hooks(settings: ShardSettings, device: str) -> dict[str, Row]:
    """The Llama's experiments beside hooks on transformers' own model: ratios, and the largest differences."""
    from benchmarks.engine import measure as beside_hooks
    from benchmarks.families import HookedOracle, random_model_of, weights_of

    model, found = random_model_of("llama"), {}
    weights = weights_of(model, "llama").to(device)
    oracle, dataset = HookedOracle(model, device), random_prompts(HOOKED_EXAMPLES, LLAMA.d_vocab)
    for experiment in experiments_on(LLAMA):
        found[experiment.key] = beside_hooks(experiment, weights, oracle, dataset, settings)
        print(f"  {experiment.key}: {found[experiment.key]['ratio']:.0f}x", file=sys.stderr, flush=True)
    return found


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """The rates, every model, and what else was asked for; written down after each."""
    device = options.device
    memory_bytes = int(torch.cuda.mem_get_info(device)[0] * 0.6) if is_gpu(device) else 2**31
    settings = ShardSettings(memory_bytes=memory_bytes)
    size = 8192 if is_gpu(device) else 256 if options.tiny else 1024
    rates = {dtype: matmul_rate(device, dtype, size) for dtype in DTYPES}
    found: dict[str, Any] = {
        "memory_budget_bytes": memory_bytes,
        "matmul_flops_per_s": rates,
        "models": {},
        "machine": {
            "device": torch.cuda.get_device_name(device) if is_gpu(device) else platform.processor() or "cpu",
            "cuda": torch.version.cuda if is_gpu(device) else None,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }
    steps: list[tuple[str, Callable[[], Any]]] = [
        (name, lambda name=name: measure_model(MODELS[name], options, settings, rates))  # type: ignore[misc]
        for name in options.models
    ]
    if options.hooks:
        steps.append(("hooks", lambda: measure_hooks(settings, device)))
    if options.circuits:
        steps.append(("circuits", lambda: measure_circuits(TINY_CIRCUITS if options.tiny else SHAPE, settings, device)))
    for name, step in steps:
        print(name, file=sys.stderr, flush=True)
        where = found["models"] if name in MODELS else found
        where[name] = step()
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")
    return found


def table(found: dict[str, Any]) -> str:
    """One line per experiment and precision, in Markdown, and what it was measured on."""
    lines = ["| model | key | examples | dtype | seconds | share of matmul rate | peak MiB | largest deviation |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, model in found["models"].items():
        for key, by_dtype in model["experiments"].items():
            lines += [f"| {name} | `{key}` | {cells_of(dtype, row)} |" for dtype, row in by_dtype.items()]
    lines += table_of_hooks(found.get("hooks", {})) + table_of_circuits(found.get("circuits", {}))
    machine = found["machine"]
    rates = ", ".join(f"{dtype} {rate / 1e12:.0f}" for dtype, rate in found["matmul_flops_per_s"].items())
    versions = f"Python {machine['python']}, torch {machine['torch']}, numpy {machine['numpy']}; {machine['date']}"
    lines += ["", f"{machine['device']}; one square product runs at (TFLOP/s) {rates}. {versions}."]
    return "\n".join(lines)


def cells_of(dtype: str, row: Row) -> str:
    """The figures of one line."""
    deviation = "" if row["max_abs_deviation"] is None else f"{row['max_abs_deviation']:.1e}"
    share, peak = f"{row['share_of_matmul_rate']:.0%}", f"{row['peak_bytes'] / 2**20:.0f}"
    return " | ".join([str(row["examples"]), dtype, f"{row['seconds']:.3f}", share, peak, deviation])


def table_of_hooks(found: dict[str, Row]) -> list[str]:
    """One line per experiment of the Llama."""
    if not found:
        return []
    lines = [
        "",
        "| key | cells | engine, s | hook by hook, s | ratio | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for key, row in found.items():
        times = f"{row['seconds']:.3f} | {row['reference_seconds']:.1f} | {row['ratio']:,.0f}x"
        lines.append(f"| `{key}` | {row['cells']} | {times} | {row['max_abs_difference']:.1e} |")
    return lines


def table_of_circuits(found: dict[str, Row]) -> list[str]:
    """One line per way of scoring."""
    if not found:
        return []
    lines = ["", "| scores | examples | seconds | largest difference to the CPU |", "|---|---|---|---|"]
    rows = [(key, row["examples"], row["seconds"], row["max_abs_difference_to_cpu"]) for key, row in found.items()]
    return lines + [f"| `{key}` | {n} | {seconds:.2f} | {worst:.1e} |" for key, n, seconds, worst in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--page", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--device", help="default: the first GPU; without one, nothing is measured")
    parser.add_argument("--examples", type=int, default=800)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--only", nargs="*", help="keys to measure; default all")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["gpt2"])
    parser.add_argument("--circuits", action="store_true", help="whole circuit jobs too")
    parser.add_argument("--hooks", action="store_true", help="the Llama beside PyTorch hooks too")
    parser.add_argument("--tiny", action="store_true", help="models of a few dozen dimensions: a smoke test")
    options = parser.parse_args(arguments)
    if options.device is None and not torch.cuda.is_available():
        print("There is no GPU here, and nothing was measured; --device cpu runs the same steps on the CPU.")
        return
    options.device = options.device or "cuda:0"
    found = measure_all(options)
    print(table(found))
    if options.page:
        write_table("gpu", table(found))


if __name__ == "__main__":
    main()
