"""What a job's metrics read, as integers and masks: where, of which head, and which tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api_schemas.datasets import ResolvedDataset, token_sets
from api_schemas.metrics import ATTENTION_METRICS, AttentionDiff, Loss, Metric
from planning.graph import Named, Site
from planning.positions import Mask, mask_of, positions_of, real_tokens

Integers = NDArray[np.int64]
"""One per example."""
NO_TOKEN = -1
"""Fills up sets of answer tokens that are smaller than the largest."""


@dataclass(frozen=True, eq=False)
class AttentionReading:
    """Attention of a head from a query to a key, minus that to another key where there is one."""

    at: Mask
    """True at the query: one position per example."""
    key: Integers
    minus_key: Integers | None
    head: tuple[int, int] | None
    """Layer and head; None: the head of each receiver cell."""


@dataclass(frozen=True, eq=False)
class LogitReading:
    """A number read from logits."""

    kind: str
    """Name of the metric."""
    at: Mask
    """True at the position that is read; for ``loss`` at every position that has a next token."""
    answer: Integers | None
    """Token ids (example, choice); ``NO_TOKEN`` beyond the end of a smaller set."""
    minus_answer: Integers | None


Reading = AttentionReading | LogitReading


def readings_of(metrics: Sequence[Metric], dataset: ResolvedDataset) -> list[Reading]:
    """The metrics on these examples."""
    readings: list[Reading] = []
    for metric in metrics:
        if not isinstance(metric, ATTENTION_METRICS):
            readings.append(_logits(metric, dataset))
            continue
        minus_key = positions_of(metric.minus_key, dataset) if isinstance(metric, AttentionDiff) else None
        head = None if metric.head is None else (metric.head.layer, metric.head.head)
        at, key = mask_of(metric.query, dataset), positions_of(metric.key, dataset)
        readings.append(AttentionReading(at, key, minus_key, head))
    return readings


def _logits(metric: Metric, dataset: ResolvedDataset) -> LogitReading:
    if isinstance(metric, Loss):
        lengths = real_tokens(dataset).sum(axis=1, keepdims=True)
        at = np.arange(dataset.longest)[None, :] < lengths - 1
    else:
        at = mask_of(metric.position, dataset)  # type: ignore[union-attr]
    tokens: list[Integers | None] = []
    for name in (getattr(metric, field, None) for field in ("answer", "minus_answer")):
        sets = [] if name is None else token_sets(dataset.answers[name])
        most = max(map(len, sets), default=0)
        rows = [ids + [NO_TOKEN] * (most - len(ids)) for ids in sets]
        tokens.append(np.array(rows, dtype=np.int64) if rows else None)
    return LogitReading(metric.kind, at, *tokens)


def attended_head(reading: AttentionReading, cell: Sequence[Named]) -> tuple[int, int]:
    """The head that an attention metric reads: the one it names, or the one of the cell's receiver."""
    if reading.head is not None:
        return reading.head
    layer, head = cell[0].layer, Site.of(cell[0]).head
    assert layer is not None
    assert head is not None
    return layer, head


def deepest_layer(readings: Sequence[Reading], cells: Sequence[Sequence[Named]], n_layers: int) -> int:
    """The layer at whose beginning the last metric can be read; ``n_layers`` for logits."""
    attention = [reading for reading in readings if isinstance(reading, AttentionReading)]
    if len(attention) < len(readings):
        return n_layers
    named = [reading.head[0] for reading in attention if reading.head is not None]
    own = [attended_head(reading, cell)[0] for reading in attention if reading.head is None for cell in cells]
    return max(named + own)
