"""Memory, planned: how many examples and rows are in work together, and what happens when it does not fit after all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from api_schemas.errors import OutOfMemory
from worker.engine.model import Weights

T = TypeVar("T")
CPU_ROWS_AT_ONCE = 2560
"""On a CPU more rows at once only spill out of its caches (measured)."""
LEAST_EXAMPLES = 16
"""So many are in work together however long they are, where memory allows it."""
WORK_FLOATS_PER_ROW = 28
"""Temporary memory of one row in work, in units of ``d_model``: stream, queries, keys, values, neurons, copies."""


BYTES_PER_VALUE = 48
"""Memory of one example's metric in one cell: its value, and copies in float64 while moments are taken."""


@dataclass(frozen=True)
class Portion:
    """How much is in work together."""

    examples: int
    rows: int

    @property
    def smaller(self) -> "Portion | None":
        """Half of it; None below one example of one cell."""
        if self.examples == 1 and self.rows == 1:
            return None
        return Portion(max(1, self.examples // 2), max(1, self.rows // 2))


def activation_bytes(weights: Weights, n_pos: int, wanted: frozenset[tuple[str, int]]) -> int:
    """Memory of one example's kept activations, both runs; keys and values share storage with queries."""
    heads, kv_heads = (weights.architecture.n_heads_of(hook) * weights.architecture.d_head for hook in ("q", "k"))
    sizes = {
        "q": 0,
        "k": heads + 2 * kv_heads,
        "v": 0,
        "rot_k": kv_heads,
        "z": heads,
        "query_k": heads,
        "query_v": heads,
    }
    sizes |= {"post": weights.architecture.d_mlp, "pre": weights.architecture.d_mlp}
    floats = sum(sizes.get(hook, weights.architecture.d_model) for hook, _ in wanted)
    floats += sum(weights.architecture.n_heads * n_pos for hook, _ in wanted if hook == "pattern")
    floats += 8 * weights.architecture.d_model + weights.architecture.d_mlp  # the layer that is being computed
    return 2 * n_pos * floats * weights.W_E.element_size()


def first_portion(
    weights: Weights, n_examples: int, rows_per_example: float, bytes_per_example: int, memory_bytes: int
) -> Portion:
    """What should fit into the stated memory: half for activations, a quarter for rows in work.

    Args:
        rows_per_example: Of one of its two runs, as many as are computed.
    """
    row_bytes = WORK_FLOATS_PER_ROW * weights.architecture.d_model * weights.W_E.element_size()
    rows = max(1, memory_bytes // 4 // row_bytes)
    if weights.device.type == "cpu":
        rows = min(rows, CPU_ROWS_AT_ONCE)
    examples = max(int(rows / rows_per_example), LEAST_EXAMPLES)
    return Portion(max(1, min(n_examples, memory_bytes // 2 // bytes_per_example, examples)), rows)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, on a GPU or on the host."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)


def in_portions(
    n_examples: int, portion: Portion, work: Callable[[int, int, Portion], T], bytes_per_example: int, memory_bytes: int
) -> list[T]:
    """Do all examples, portion by portion; an allocation failure halves the portion and goes on.

    Raises:
        OutOfMemory: One example of one cell does not fit.
    """
    results, start = [], 0
    while start < n_examples:
        stop = min(n_examples, start + portion.examples)
        try:
            results.append(work(start, stop, portion))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            smaller = portion.smaller
            if smaller is None:
                raise OutOfMemory(bytes_per_example, memory_bytes) from error
            portion = smaller
            continue
        start = stop
    return results
