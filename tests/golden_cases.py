"""The golden cases as typed records, for the tests that hold an implementation against them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from api_schemas.nodes import Node

FOLDER = Path(__file__).parent / "golden"
TOLERANCE = 1e-4


@dataclass(frozen=True)
class GoldenCase:
    """One patch, and what the final run gave at the last position."""

    id: str
    orig_tokens: np.ndarray
    new_tokens: np.ndarray
    senders: list[Node]
    receivers: list[Node]
    positions: int | list[list[int]] | None
    direct_includes_mlps: bool
    source: str
    logits: np.ndarray
    """[example d_vocab]"""
    pattern: np.ndarray
    """[example layer head key_pos]"""


def golden_cases() -> list[GoldenCase]:
    """All 58, ``swap`` applied."""
    arrays = np.load(FOLDER / "arrays.npz")
    cases = []
    for case in json.loads((FOLDER / "cases.json").read_text())["cases"]:
        orig, new = ("new", "orig") if case["swap"] else ("orig", "new")
        cases.append(
            GoldenCase(
                id=case["id"],
                orig_tokens=arrays[orig],
                new_tokens=arrays[new],
                senders=[Node(**node) for node in case["senders"]],
                receivers=[Node(**node) for node in case["receivers"]],
                positions=case["positions"],
                direct_includes_mlps=not case["freeze_mlps"],
                source={"resample": "new", "zero": "zero"}[case["ablation"]],
                logits=arrays[f"{case['id']}/logits"],
                pattern=arrays[f"{case['id']}/pattern"],
            )
        )
    return cases
