"""What a job's shards found, put together in their order; and which cells the next phase looks at again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from api_schemas.spec import JobSpec
from worker.engine.statistics import Moments, merged

Arrays = dict[str, NDArray[Any]]


def merged_outputs(outputs: list[Arrays]) -> Arrays:
    """Outputs of consecutive examples as one: examples side by side, moments merged, checks at their worst."""
    if len(outputs) == 1:
        return outputs[0]
    sizes = np.array([int(output["n"][0]) for output in outputs])
    found: Arrays = {"n": np.array([sizes.sum()])}
    for name in dict.fromkeys(name for output in outputs for name in output):
        parts = [output[name] for output in outputs if name in output]
        kind, _, place = name.partition("/")
        if kind in ("patched", "orig", "new"):
            found[name] = np.concatenate(parts)
        elif kind in ("effect_mean", "patched_mean"):
            squares = f"{kind.removesuffix('_mean')}_m2/{place}"
            of_shards = [
                Moments(int(size), output[name], output[squares]) for size, output in zip(sizes, outputs, strict=True)
            ]
            total = merged(of_shards)
            found[name], found[squares] = total.mean, total.m2
        elif kind in ("exact", "reach"):
            found[name] = np.sum(parts, axis=0)
        elif kind == "check":
            found[name] = np.max(parts, axis=0)
        elif kind in ("mean", "cells"):
            found[name] = parts[0]
    return found


def mean_effect(output: Arrays, place: int) -> NDArray[np.float64]:
    """Patched minus orig, mean over the examples, per sender and receiver cell, in the metric's own unit."""
    if f"effect_mean/{place}" in output:
        return output[f"effect_mean/{place}"]
    patched, orig = output[f"patched/{place}"], output[f"orig/{place}"]
    effect: NDArray[np.float64] = patched.astype(np.float64) - orig.astype(np.float64)[:, None]
    return np.asarray(effect.mean(axis=0))


def largest(effect: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Flat indices of the largest absolute effects, largest first; equal ones in the grid's order."""
    return np.argsort(-np.nan_to_num(np.abs(effect)).ravel(), kind="stable")[:count]


def with_chosen_cells(spec: JobSpec, output: Arrays) -> Arrays:
    """The outputs of the first phase, with the cells to verify of each metric."""
    assert spec.verify is not None
    chosen: Arrays = {
        f"cells/{place}": largest(mean_effect(output, place), spec.verify) for place in range(len(spec.all_metrics))
    }
    return output | chosen


def chosen_cells(phase_input: Arrays) -> list[int]:
    """The cells to verify, of all metrics together."""
    return sorted({int(cell) for name, cells in phase_input.items() if name.startswith("cells/") for cell in cells})
