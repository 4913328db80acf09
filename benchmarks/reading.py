"""How much one must read to follow a path patch: files and functions entered from a shard's message to its number.

Run: ``python -m benchmarks.reading [--list]``. Two experiments run once, on a random GPT-2 of 12 layers x 12 heads: the
founding experiment, and one head's effect on the logits through MLPs. Counted is every function of ours that is
entered: methods, properties and nested functions too, but no comprehension, lambda or code that Python generates.

Two stages are counted: from the shard's message to the numbers that the shard hands in, checks included; and from there
to the assembled result, of which only what the first stage has not entered counts. The bar is for the first stage, in
`planning`, `worker.jobs` and `worker.engine` together; what they enter of `api_schemas` is counted beside it.
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
STAGES = ("to the number", "from there to the result")
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
}
"""Patch and metric of each; without a metric ``logit_diff``."""

Function = tuple[str, str]
"""A file, relative to the repository, and a function's qualified name in it."""


def functions_entered(work: Callable[[], object]) -> list[Function]:
    """Functions of the counted packages that a call enters, each once, in order of first entry."""
    found: dict[CodeType, None] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found.setdefault(frame.f_code)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    named = [(code, Path(code.co_filename)) for code in found if not code.co_name.startswith("<")]
    inside = [
        (path.relative_to(ROOT).as_posix(), code.co_qualname) for code, path in named if path.is_relative_to(ROOT)
    ]
    return [function for function in dict.fromkeys(inside) if package_of(function)]


def package_of(function: Function) -> str | None:
    """The counted package that a function lies in."""
    return next((package for package in PACKAGES + BESIDE if function[0].startswith(f"{package}/")), None)


def stages_of_experiment(name: str) -> list[list[Function]]:
    """What one experiment enters in each of ``STAGES``."""
    weights, dataset = tiny_weights(n_layers=12, n_heads=12), prompts(LENGTHS)
    spec = job(dataset, **EXPERIMENTS[name])
    outputs: list[bytes] = []

    def to_the_number() -> None:
        outputs.append(run_shard(weights, spec, dataset, dataset.longest, *opened(spec, b""), PLENTY))

    def to_the_result() -> None:
        assemble(spec, weights.architecture, dataset.longest, b"", outputs)

    first, second = functions_entered(to_the_number), functions_entered(to_the_result)
    return [first, [function for function in second if function not in first]]


def stages_by_experiment() -> dict[str, list[list[Function]]]:
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
        for stage, functions, reported in zip(STAGES, stages, (report, counts), strict=True):
            print(reported(f"{name}: {stage}", functions))
            if options.list:
                print(listing(functions))


if __name__ == "__main__":
    main()
