"""The experiment that the project began with, as a spec: the example of the API's documentation."""

from typing import Any

FOUNDING_EXPERIMENT: dict[str, Any] = {
    "model": {"name": "gpt2-small"},
    "dataset": {"kind": "ioi", "examples": 800, "seed": 0},
    "patch": {
        "senders": [
            {"hook": "z", "layer": 9, "head": 6},
            {"hook": "z", "layer": 9, "head": 9},
            {"hook": "z", "layer": 10, "head": 10},
        ],
        "receivers": [{"hook": "q", "layer": 10, "head": 7}],
        "direct_includes_mlps": False,
    },
    "metric": {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"},
    "output": {"per_example": True},
    "tags": {"experiment": "negative-name-movers"},
}
