"""How much one must read to follow a path patch: files and functions entered from a shard's message to its number.

Run: ``python -m benchmarks.reading [--list]``. Three experiments run once, on a random GPT-2 of 12 layers x 12 heads:
the founding experiment, one head's effect on the logits through MLPs, and, for comparison, one head's effect on the
logits through another head's query, which needs a run of the layers in between. Counted is every function of ours that
is entered: methods, properties and nested functions too, but no comprehension, lambda or code that Python generates.

The bar is for the first stage, from the shard's message to the values of all cells, in `planning`, `worker.jobs` and
`worker.engine` together; what they enter of `api_schemas` is counted beside it. What a shard does besides computing a
number has stages of its own: how much is in work and kept at once, checks of what was computed, and what is handed in.
A stage begins where one of its functions is entered (``ENTRIES``) and holds what these enter in turn. A function that
several stages enter counts in the first of them only.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from api_schemas.spec import FOUNDING_EXPERIMENT
from tests.shards import PLENTY, assemble, run_shard
from tests.tiny_weights import job, node, prompts, tiny_weights
from worker.jobs.run import opened

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("planning", "worker/jobs", "worker/engine")
BESIDE = ("api_schemas",)
NUMBER, MEMORY, CHECKS, OUTPUT, RESULT = (
    "to the number",
    "how much is in work and kept at once",
    "checks",
    "what is handed in",
    "from there to the result",
)
STAGES = (NUMBER, MEMORY, CHECKS, OUTPUT, RESULT)
MAX_FILES = 14
MAX_FUNCTIONS = 90

LENGTHS = (9, 7, 8)
FOUNDING_METRIC = {"kind": "attention_diff", "query": "end", "key": "first", "minus_key": "middle"}
EXPERIMENTS: dict[str, dict[str, Any]] = {
    "founding experiment": {"patch": FOUNDING_EXPERIMENT["patch"], "metrics": FOUNDING_METRIC},
    "logits through MLPs": {
        "patch": {
            "senders": [node("z", 9, head=9)],
            "receivers": [node("resid_post", 11)],
            "direct_includes_mlps": True,
        }
    },
    "logits through a query": {"patch": {"senders": [node("z", 9, head=9)], "receivers": [node("q", 10, head=7)]}},
}
"""Patch and metric of each; without a metric ``logit_diff``."""
BARRED = ("founding experiment", "logits through MLPs")
"""Experiments that have a bar."""

Function = tuple[str, str]
"""A file, relative to the repository, and a function's qualified name in it."""
ENTRIES: dict[Function, str] = {
    ("worker/jobs/shard.py", "Shard.in_portions"): MEMORY,
    ("worker/jobs/shard.py", "Shard.wanted"): MEMORY,
    ("worker/engine/sweep.py", "Batch.cells_at_once"): MEMORY,
    ("worker/jobs/sweep.py", "cells_of_shard.<locals>.work"): NUMBER,
    ("worker/jobs/shard.py", "arithmetic"): NUMBER,
    ("worker/jobs/checks.py", "checks_of"): CHECKS,
    ("worker/jobs/output.py", "output_of"): OUTPUT,
    ("worker/jobs/merging.py", "merged_outputs"): OUTPUT,
    ("worker/jobs/records.py", "pack"): OUTPUT,
}
"""Where a stage begins, or begins again within another."""


def functions_entered(work: Callable[[], object], first_stage: str = NUMBER) -> dict[Function, str]:
    """Functions of the counted packages that a call enters, in order of first entry, each with the first of its stages.

    Args:
        first_stage: Of what is entered outside all ``ENTRIES``.
    """
    named: dict[CodeType, Function | None] = {}
    found: dict[Function, str] = {}

    def function_of(code: CodeType) -> Function | None:
        if code not in named:
            path = Path(code.co_filename)
            is_ours = path.is_relative_to(ROOT) and not code.co_name.startswith("<")
            named[code] = (path.relative_to(ROOT).as_posix(), code.co_qualname) if is_ours else None
        return named[code]

    def stage_of(frame: FrameType | None) -> str:
        while frame is not None:
            function = function_of(frame.f_code)
            if function in ENTRIES:
                return ENTRIES[function]
            frame = frame.f_back
        return first_stage

    def note(frame: FrameType, event: str, argument: object) -> None:
        function = function_of(frame.f_code) if event == "call" else None
        if function is not None and package_of(function):
            stage = stage_of(frame)
            found[function] = min(found.get(function, stage), stage, key=STAGES.index)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return found


def package_of(function: Function) -> str | None:
    """The counted package that a function lies in."""
    return next((package for package in PACKAGES + BESIDE if function[0].startswith(f"{package}/")), None)


def stages_of_experiment(name: str) -> dict[str, list[Function]]:
    """What one experiment enters in each of ``STAGES``."""
    weights, dataset = tiny_weights(n_layers=12, n_heads=12), prompts(LENGTHS)
    spec = job(dataset, **EXPERIMENTS[name])
    outputs: list[bytes] = []

    def to_the_number() -> None:
        outputs.append(run_shard(weights, spec, dataset, dataset.longest, *opened(spec, b""), PLENTY))

    def to_the_result() -> None:
        assemble(spec, weights.architecture, dataset.longest, b"", outputs)

    first = functions_entered(to_the_number)
    stages = first | {one: stage for one, stage in functions_entered(to_the_result, RESULT).items() if one not in first}
    return {stage: [function for function, own in stages.items() if own == stage] for stage in STAGES}


def stages_by_experiment() -> dict[str, dict[str, list[Function]]]:
    """Each experiment in a process of its own, so that no cache of one hides a function from another."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(stages_of_experiment, (name,)) for name in EXPERIMENTS}


def size(functions: list[Function], packages: tuple[str, ...] = PACKAGES) -> tuple[int, int]:
    """Number of files and of functions in some packages."""
    chosen = [function for function in functions if package_of(function) in packages]
    return len({file for file, _ in chosen}), len(chosen)


def report(name: str, functions: list[Function]) -> str:
    """A count per package, and their total against the bar."""
    files, count = size(functions)
    met = "met" if files <= MAX_FILES and count <= MAX_FUNCTIONS else "NOT MET"
    return f"{counts(name, functions)} (at most {MAX_FILES} and {MAX_FUNCTIONS}: {met})"


def counts(name: str, functions: list[Function]) -> str:
    """A count per package, and their total without `api_schemas`."""
    sizes = {package: size(functions, (package,)) for package in (*BESIDE, *PACKAGES)}
    sizes["without api_schemas"] = size(functions)
    lines = [f"  {what:24} {files:3} files {count:4} functions" for what, (files, count) in sizes.items()]
    return "\n".join([name, *lines])


def listing(functions: list[Function]) -> str:
    """The names, in order of first entry."""
    return "\n".join(f"    {file:36} {name}" for file, name in functions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the functions, in order of first entry")
    options = parser.parse_args()
    for name, stages in stages_by_experiment().items():
        for stage, functions in stages.items():
            reported = report if stage == NUMBER and name in BARRED else counts
            print(reported(f"{name}: {stage}", functions))
            if options.list:
                print(listing(functions))
        before = [function for stage, functions in stages.items() if stage != RESULT for function in functions]
        print(counts(f"{name}: all until a shard hands in its numbers", before))


if __name__ == "__main__":
    main()
