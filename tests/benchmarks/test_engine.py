"""What the engine's benchmark makes of its times: which bars are met, and the table in the documentation."""

import json
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import engine, families
from benchmarks import page as page_marks
from benchmarks.engine import KEYS, Times, bar_of, ratios, table
from benchmarks.experiments import EXPERIMENTS, N_POS, Experiment, random_prompts
from tests.random_families import ARCHITECTURES, random_weights

NOT_ON_LLAMA = ("seed_job_mixed", "shared_header", "cold_start")
FIGURES = Path(__file__).parents[2] / "benchmarks" / "engine.json"


def test_ratios_are_against_all_cells_and_strictly_against_shared_clean_runs() -> None:
    """Two cells of 3 s and 5 s, of which 1 s is clean runs, stand for 100; the engine takes 2 s."""
    times = Times()
    times.best = {"engine": 2.0, "clean": 1.0, (0, 0): 3.0, (1, 0): 5.0, "floor": 1.6}
    found = ratios(times, [(0, 0), (1, 0)], 100, is_sweep=True)
    assert found["ratio"] == 400 / 2 and found["strict_ratio"] == (300 + 1) / 2 and found["floor_ratio"] == 1.25
    alone = ratios(times, [(0, 0)], 1, is_sweep=False)
    assert alone["ratio"] == (3 + 1) / 2 and alone["strict_ratio"] == 3 / 2


@pytest.mark.parametrize(
    ("key", "row", "met"),
    [
        ("seed_job", {"ratio": 4.1, "floor_ratio": 1.2}, True),
        ("seed_job", {"ratio": 3.9, "floor_ratio": 1.2}, False),
        ("seed_job", {"ratio": 4.1, "floor_ratio": 1.3}, False),
        ("sweep_values_logits", {"ratio": 20.0, "strict_ratio": 8.1}, True),
        ("sweep_values_logits", {"ratio": 20.0, "strict_ratio": 7.9}, False),
        ("edges", {"ratio": 1.0, "floor_ratio": 4.9}, True),
        ("edges", {"ratio": 1e6, "floor_ratio": 5.1}, False),
        ("next_question", {"seconds": 0.021}, False),
        ("memory", {"peak_bytes": 9, "budget_bytes": 10}, True),
        ("cold_start", {"seconds": 3.0}, None),
    ],
)
def test_a_bar_is_met_only_if_all_of_it_is(key: str, row: dict[str, float], met: bool | None) -> None:
    """The table says NO where it is not."""
    assert bar_of(key, row, EXPERIMENTS)[1] is met


def test_the_page_shows_the_figures_that_are_kept_beside_the_script(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The committed table is the committed figures'."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{page_marks.begin_of('engine')}\nold\n{page_marks.END}\nafter\n")
    monkeypatch.setattr(page_marks, "PAGE", page)
    found = json.loads(FIGURES.read_text())
    page_marks.write_table("engine", table(found))
    assert page.read_text() == f"before\n{page_marks.begin_of('engine')}\n{table(found)}\n{page_marks.END}\nafter\n"
    assert [key for key in KEYS if f"`{key}`" in table(found)] == KEYS
    committed = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    of_llama = json.loads(FIGURES.with_name("engine_llama.json").read_text())
    assert table(found) in committed and table(of_llama, families.EXPERIMENTS) in committed
    assert [key for key in KEYS if key in of_llama] == [key for key in KEYS if key not in NOT_ON_LLAMA]


def test_the_floor_of_a_gated_model_has_its_third_product() -> None:
    """A Llama's MLP has three matrices, and its heads share keys: all of them are in the floor, below the receiver."""
    weights = random_weights(ARCHITECTURES["llama"])
    experiment = Experiment("seed_job", {"receivers": [{"hook": "q", "layer": 1, "head": 0}]}, {})
    with FlopCounterMode(display=False) as counted:
        engine.floor_of(experiment, weights, random_prompts(3))
    one = weights.architecture
    read = one.d_model * one.d_head * (one.n_heads + 2 * one.n_kv_heads)
    per_row = read + one.n_heads * one.d_head * one.d_model + 3 * one.d_model * one.d_mlp
    assert counted.get_total_flops() == 2 * 3 * N_POS * 2 * per_row


@pytest.mark.parametrize("name", ["engine", "engine_llama"])
def test_the_readme_tells_the_figures_that_are_kept_beside_the_script(name: str) -> None:
    """Those of all heads into one query: ours, and hook by hook."""
    row = json.loads(FIGURES.with_name(f"{name}.json").read_text())["sweep_query_skip"]
    told = (FIGURES.parents[1] / "README.md").read_text()
    assert f" {row['seconds']:.1f} s" in told and f" {row['reference_seconds']:.0f} s" in told
