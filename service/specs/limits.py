"""Limits on what one spec may ask for, each with the environment variable that changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

PREFIX = "PATHPATCH_"


def knob(limit: str) -> str:
    """The environment variable of a limit, such as ``PATHPATCH_MAX_CELLS`` of ``max_cells``."""
    return PREFIX + limit.upper()


@dataclass(frozen=True)
class SpecLimits:
    """Limits of one service; every one is named in the error that it causes, with its variable."""

    max_examples: int = 10_000
    """Prompts of one run."""
    max_characters: int = 10_000_000
    """Characters of all prompts of both runs, at most: those of a template with its longest fillers."""
    max_tokens: int = 2_000_000
    """Tokens of all prompts of both runs."""
    max_batch_tokens: int = 10_000_000
    """The same, of all jobs of a batch, which are in memory at once."""
    max_cells: int = 200_000
    """Cells of a sweep."""
    max_circuit_runs: int = 10_000
    """Edge sets that one circuit job runs, those of its tests included."""
    max_edge_examples: int = 5_000_000
    """Edges x examples of a circuit job with exact scores: so many patched runs."""
    max_result_bytes: int = 64 * 2**20
    """Estimated size of the result as JSON."""
    max_body_bytes: int = 16 * 2**20
    """Size of a request's body."""
    max_json_depth: int = 32
    """Nesting of a request's body."""
    max_shards: int = 1000
    """Shards of one job."""
    max_check_s: int = 30
    """Seconds that checking one spec may take, and four times as many a batch."""
    max_check_bytes: int = 2**30
    """Memory of a process that checks specs."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SpecLimits":
        """The defaults, changed by ``PATHPATCH_MAX_...``.

        Raises:
            ValueError: A variable is not a positive integer.
        """
        given = {field.name: environment[knob(field.name)] for field in fields(cls) if knob(field.name) in environment}
        for name, value in given.items():
            if not value.isdecimal() or int(value) == 0:
                raise ValueError(f"{knob(name)} is {value!r}: it must be a positive integer")
        return cls(**{name: int(value) for name, value in given.items()})
