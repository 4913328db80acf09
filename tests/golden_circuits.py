"""Circuits of the golden model, as EAP-IG, MIB and ACDC compute them (``golden_circuit/README.md``)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from api_schemas.datasets import ResolvedDataset

FOLDER = Path(__file__).parent / "golden_circuit"
METRIC = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}


@cache
def read(name: str) -> Any:
    """One of the JSON files."""
    return json.loads((FOLDER / f"{name}.json").read_text())


@cache
def scores() -> dict[str, np.ndarray]:
    """Scores of every edge, by method."""
    with np.load(FOLDER / "scores.npz") as stored:
        return dict(stored)


def dataset() -> ResolvedDataset:
    """The eight prompts."""
    tokens = read("tokens")
    ends = [len(prompt) - 1 for prompt in tokens["clean"]]
    return ResolvedDataset(
        orig=tokens["clean"], new=tokens["corrupted"], roles={"end": ends}, answers=tokens["answers"]
    )
