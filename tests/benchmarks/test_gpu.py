"""The GPU benchmark, on a CPU and a small model: it runs, on little more than torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.experiments import EXPERIMENTS, N_POS, random_prompts, random_weights, spec_of
from benchmarks.gpu import TINY, TINY_CIRCUITS, check_against_cpu, measure_circuits, table
from benchmarks.page import PAGE, marked
from tests.shards import PLENTY

ROOT = Path(__file__).parents[2]
ABSENT = ("jaxtyping", "transformers", "transformer_lens", "celery", "redis", "valkey", "httpx", "fastapi", "beartype")
ON_A_BARE_MACHINE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({ABSENT}))  # importing one of these fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_it_runs_without_jaxtyping_and_without_anything_of_a_worker(tmp_path: Path) -> None:
    """GPU machines may have torch and little else."""
    found = tmp_path / "gpu.json"
    options = ["--device", "cpu", "--tiny", "--examples", "4", "--dtypes", "float32", "bfloat16", "--json", str(found)]
    chosen = ["--only", "seed_job", "--models", "gpt2", "llama"]
    command = [sys.executable, "-c", ON_A_BARE_MACHINE, "benchmarks/gpu.py", *options, *chosen]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    for model in json.loads(found.read_text())["models"].values():
        rows = model["experiments"]["seed_job"]
        assert rows["float32"]["max_abs_deviation"] is None
        assert 0 < rows["bfloat16"]["max_abs_deviation"] < 0.1
        assert all(row["seconds"] > 0 and row["flops"] > 0 and row["examples"] == 4 for row in rows.values())
    assert "| llama | `seed_job` | 4 | float32 |" in run.stdout


def test_the_page_shows_the_figures_of_the_file() -> None:
    """They are measured on a machine that is lent, and committed."""
    found = json.loads((ROOT / "benchmarks" / "gpu.json").read_text())
    assert marked("gpu", table(found)) in PAGE.read_text()


def test_circuits_are_measured_too() -> None:
    """Scores by gradients and exact ones, choice and runs: equal to the CPU's, as this is one."""
    found = measure_circuits(TINY_CIRCUITS, PLENTY, "cpu", examples=2)
    assert list(found) == ["attribution", "integrated", "exact_all_edges"]
    assert all(row["max_abs_difference_to_cpu"] == 0 and row["seconds"] > 0 for row in found.values())


def test_every_experiment_is_a_valid_job_of_the_small_model() -> None:
    """And the comparison with the CPU covers each of them."""
    weights = random_weights(TINY)
    for experiment in EXPERIMENTS:
        spec_of(experiment.patch, experiment.metric, random_prompts(2, TINY.d_vocab))
    few = [experiment for experiment in EXPERIMENTS if experiment.key in ("sweep_query_mlps", "sweep_logits_mlps")]
    assert check_against_cpu(few, weights, "cpu") == {experiment.key: 0.0 for experiment in few}


def test_prompts_are_what_the_roles_say() -> None:
    """The metrics read END, IO and S1 of every prompt."""
    dataset = random_prompts(3, TINY.d_vocab)
    assert {len(prompt) for prompt in dataset.orig} == {N_POS} and dataset.roles["end"] == [N_POS - 1] * 3
    assert np.max(dataset.orig) < TINY.d_vocab
    assert dataset.answers["IO"] == [prompt[2] for prompt in dataset.orig]
