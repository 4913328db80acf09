"""How much one must read to follow a path patch: files and functions entered from a shard's message to its number.

Run: ``python -m benchmarks.reading [--list]``. Two experiments run once, on a random GPT-2 of 12 layers x 12 heads: the
founding experiment, and one head's effect on the logits through MLPs. Counted is every function of ours that is
entered, from the call that runs the shard to the assembled result: methods, properties and nested functions too, but
no comprehension, lambda or code that Python generates. The bar is for `planning`, `worker.jobs` and `worker.engine`
together; what they enter of `api_schemas` is counted beside it.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from api_schemas.spec import FOUNDING_EXPERIMENT
from tests.tiny_weights import job, node, prompts, tiny_weights

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("planning", "worker/jobs", "worker/engine")
BESIDE = ("api_schemas",)
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


def functions_of_experiment(name: str) -> list[Function]:
    """What one experiment enters, from its shard to its result."""
    from tests.shards import run_job

    weights, dataset = tiny_weights(n_layers=12, n_heads=12), prompts(LENGTHS)
    spec = job(dataset, **EXPERIMENTS[name])
    return functions_entered(lambda: run_job(weights, spec, dataset))


def functions_by_experiment() -> dict[str, list[Function]]:
    """Each experiment in a process of its own, so that no cache of one hides a function from another."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(functions_of_experiment, (name,)) for name in EXPERIMENTS}


def size(functions: list[Function], packages: tuple[str, ...] = PACKAGES) -> tuple[int, int]:
    """Number of files and of functions in some packages."""
    chosen = [function for function in functions if package_of(function) in packages]
    return len({file for file, _ in chosen}), len(chosen)


def report(name: str, functions: list[Function]) -> str:
    """A count per package, and their total against the bar."""
    lines = [name]
    for package in (*PACKAGES, *BESIDE):
        files, count = size(functions, (package,))
        lines.append(f"  {package:24} {files:3} files {count:4} functions")
    files, count = size(functions)
    met = "met" if files <= MAX_FILES and count <= MAX_FUNCTIONS else "NOT MET"
    bar = f"at most {MAX_FILES} and {MAX_FUNCTIONS}: {met}"
    all_files, all_functions = size(functions, PACKAGES + BESIDE)
    lines.append(f"  {'without api_schemas':24} {files:3} files {count:4} functions ({bar})")
    return "\n".join([*lines, f"  {'in all':24} {all_files:3} files {all_functions:4} functions"])


def listing(functions: list[Function]) -> str:
    """The names, in order of first entry."""
    return "\n".join(f"    {file:36} {name}" for file, name in functions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the functions, in order of first entry")
    options = parser.parse_args()
    for name, functions in functions_by_experiment().items():
        print(report(name, functions))
        if options.list:
            print(listing(functions))


if __name__ == "__main__":
    main()
