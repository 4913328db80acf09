"""The engine on one device: first that it gives the CPU's numbers, then its speed, share of the matmul rate and memory.

Run on a machine with a GPU: ``python benchmarks/gpu.py [--json FILE] [--examples 800]``. Needs torch, numpy and
pydantic (the engine's own records), nothing else. Weights are GPT-2-small-sized and random, made with torch. The same
steps run on a CPU, on a small model, with ``--device cpu --tiny --examples 8``.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


from benchmarks.experiments import (
    EXPERIMENTS,
    N_POS,
    SHAPE,
    Experiment,
    peak_resident_bytes,
    random_prompts,
    random_weights,
    reset_peak,
    run_once,
    seconds_of,
    spec_of,
)
from planning.architecture import Architecture
from worker.engine.model import Weights
from worker.jobs.kind import ShardSettings

TOLERANCE = 1e-4
COMPARED_EXAMPLES = 8
DTYPES = ("float32", "tf32", "bfloat16")
TINY = Architecture(n_layers=12, n_heads=12, d_model=48, d_mlp=96, n_ctx=32, d_vocab=101)
Row = dict[str, Any]


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
    dataset, differences = random_prompts(COMPARED_EXAMPLES, weights.architecture.d_vocab), {}
    on_device = weights.to(device)
    for experiment in experiments:
        spec = spec_of(experiment.patch, experiment.metric, dataset)
        wanted, found = (
            run_once(own, spec, dataset, ShardSettings(memory_bytes=2**30, device=where)).arrays["0/patched"]
            for own, where in ((weights, "cpu"), (on_device, device))
        )
        differences[experiment.key] = difference = float(np.abs(wanted - found).max())
        if not difference < TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise SystemExit(f"{experiment.key} on {device} differs from the CPU by {difference:.3g}")
    return differences


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


def measure(
    experiment: Experiment, weights: Weights, settings: ShardSettings, n_examples: int, dtype: str, rate: float
) -> Row:
    """Seconds from tokens to the result, checks included, and what they were spent on."""
    dataset = random_prompts(n_examples, weights.architecture.d_vocab)
    spec = spec_of(experiment.patch, experiment.metric, dataset, dtype, per_example=False)

    def work() -> Any:
        found = run_once(weights, spec, dataset, settings)
        wait_for(settings.device)
        return found

    with FlopCounterMode(display=False) as counter:  # also the warm-up
        result = work()
    peak = peak_of(settings.device, work)
    seconds = min(seconds_of(work) for _ in range(2))
    flops = counter.get_total_flops()
    return {
        "seconds": seconds,
        "flops": flops,
        "share_of_matmul_rate": flops / seconds / rate,
        "peak_bytes": peak,
        "max_abs_deviation": result.checks["dtype_max_abs"],
    }


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """The comparison, the rates, and every experiment in every precision."""
    device = options.device
    weights = random_weights(TINY if options.tiny else SHAPE)
    experiments = [experiment for experiment in EXPERIMENTS if not options.only or experiment.key in options.only]
    compared = check_against_cpu(experiments, weights, device)
    print(f"largest difference to the CPU: {max(compared.values()):.1e}", file=sys.stderr, flush=True)
    on_device = weights.to(device)
    memory_bytes = int(torch.cuda.mem_get_info(device)[0] * 0.6) if is_gpu(device) else 2**31
    settings = ShardSettings(memory_bytes=memory_bytes, device=device)
    size = 8192 if is_gpu(device) else 256 if options.tiny else 1024
    rates = {dtype: matmul_rate(device, dtype, size) for dtype in options.dtypes}
    rows: dict[str, dict[str, Row]] = {}
    for experiment in experiments:
        rows[experiment.key] = {}
        for dtype in options.dtypes:
            found = measure(experiment, on_device, settings, options.examples, dtype, rates[dtype])
            rows[experiment.key][dtype] = found
            print(f"{experiment.key} {dtype}: {found['seconds']:.3f} s", file=sys.stderr, flush=True)
    return {
        "examples": options.examples,
        "tokens_per_prompt": N_POS,
        "memory_budget_bytes": memory_bytes,
        "max_abs_difference_to_cpu": compared,
        "matmul_flops_per_s": rates,
        "experiments": rows,
        "machine": {
            "device": torch.cuda.get_device_name(device) if is_gpu(device) else platform.processor() or "cpu",
            "cuda": torch.version.cuda if is_gpu(device) else None,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


def print_table(found: dict[str, Any]) -> None:
    """One line per experiment and precision, in Markdown."""
    print("| key | dtype | seconds | share of matmul rate | peak MiB | largest deviation from float32 |")
    print("|---|---|---|---|---|---|")
    for key, by_dtype in found["experiments"].items():
        for dtype, row in by_dtype.items():
            deviation = "" if row["max_abs_deviation"] is None else f"{row['max_abs_deviation']:.1e}"
            share, peak = f"{row['share_of_matmul_rate']:.0%}", f"{row['peak_bytes'] / 2**20:.0f}"
            print(f"| `{key}` | {dtype} | {row['seconds']:.3f} | {share} | {peak} | {deviation} |")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--device", help="default: the first GPU; without one, nothing is measured")
    parser.add_argument("--examples", type=int, default=800)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--only", nargs="*", help="keys to measure; default all")
    parser.add_argument("--tiny", action="store_true", help="a model of 48 dimensions: a smoke test")
    options = parser.parse_args(arguments)
    if options.device is None and not torch.cuda.is_available():
        print("There is no GPU here, and nothing was measured; --device cpu runs the same steps on the CPU.")
        return
    options.device = options.device or "cuda:0"
    found = measure_all(options)
    print_table(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
