"""Which way of choosing edges gives the better circuits: CPR and CMD on MIB's grid, on three models.

Run: ``python -m benchmarks.circuit_choices [--model golden|demo|smollm2-135m] [--score attribution,integrated,exact]
[--rounds 2,4,8]``. Prints one row per score and rank, in Markdown: the tables of docs/circuits.md.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmarks.jaxtyping_stand_in  # noqa: F401
from api_schemas.models import ModelOrigin, parse_registry
from api_schemas.spec import JobSpec, ModelSpec
from service.models.catalog import ModelCatalog
from service.specs.limits import SpecLimits
from service.specs.validation import check_job
from tests import golden_circuits
from tests.golden_cases import FOLDER
from tests.shards import run_job
from worker.models.loading import load_model

DATASETS: dict[str, dict[str, Any]] = {
    "golden": {"kind": "tokens", **golden_circuits.dataset().model_dump(exclude={"start"})},
    "demo": {"kind": "ioi", "examples": 10, "seed": 0},
    "smollm2-135m": {"kind": "ioi", "examples": 4, "seed": 0},
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(DATASETS), default="golden")
    parser.add_argument("--score", default="attribution,integrated,exact", help="methods, with commas between them")
    parser.add_argument("--rounds", default="2,4,8", help="numbers of rounds, with commas between them")
    options = parser.parse_args(arguments)
    all_rounds = [int(rounds) for rounds in options.rounds.split(",")]
    registry = parse_registry("") | {"golden": ModelOrigin(name="golden", folder=str(FOLDER / "model"))}
    catalog = ModelCatalog(registry)
    with tempfile.TemporaryDirectory() as folder:
        weights = load_model(options.model, ModelSpec(name=options.model), registry, "cpu", Path(folder)).weights
    print("| rank | score | `top` | " + " | ".join(f"{rounds} rounds" for rounds in all_rounds) + " |")
    print("|---" * (3 + len(all_rounds)) + "|")
    for rank in ("signed", "absolute"):
        for method in options.score.split(","):
            cells = []
            for choice in ({"by": "top"}, *({"by": "iterated", "rounds": rounds} for rounds in all_rounds)):
                patch = {"kind": "circuit", "score": {"method": method}, "choose": {**choice, "rank": rank}}
                spec = {"model": {"name": options.model}, "dataset": DATASETS[options.model], "patch": patch}
                checked = check_job(
                    JobSpec.model_validate({**spec, "metric": golden_circuits.METRIC}), catalog, SpecLimits()
                )
                (block,) = run_job(weights, checked.spec, checked.dataset).blocks
                cells.append(f"{block['cpr']:.3f} / {block['cmd']:.3f}")
            print(f"| `{rank}` | `{method}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
