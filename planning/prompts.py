"""What a patch and its metrics mean on given prompts: where nodes take part, what is read, which beginnings are shared.

An edge joins two nodes at one position: only attention moves anything between positions, and in path patching all
attention is orig's. So a sender reaches a receiver if it comes before it, and both take part at a common position.

What a causal model computes at a position depends on the tokens up to there and on nothing else. So two positions with
the same tokens before them have the same row of every activation, bit for bit: those of ``new`` before its first token
that differs from ``orig``, those of a header that many examples share, and all of an example without any difference.
Such a beginning of prompts is a *prefix* here, and needs to be computed only once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from operator import eq

import numpy as np
from numpy.typing import NDArray

from api_schemas.datasets import ResolvedDataset, token_sets
from api_schemas.metrics import ATTENTION_METRICS, AttentionDiff, Loss, Metric
from api_schemas.nodes import Node, Positions, PromptPosition
from planning.graph import Graph, Named, Site

Mask = NDArray[np.bool_]
"""(example, position), False in the padding of shorter prompts."""
Integers = NDArray[np.int64]
"""One per example."""
NO_TOKEN = -1
"""Fills up sets of answer tokens that are smaller than the largest."""
LEAST_SAVED = 0.25
"""Prompts whose own rows begin late attend apart from the others where this share of all queries is saved so."""
SHORT = 32
"""Attention over fewer positions costs next to nothing."""


def real_tokens(dataset: ResolvedDataset) -> Mask:
    """True where a prompt has a token."""
    lengths = np.array([len(prompt) for prompt in dataset.orig])
    return np.arange(dataset.longest)[None, :] < lengths[:, None]


def after_first_difference(dataset: ResolvedDataset, real: Mask | None = None) -> Mask:
    """True from the first token on in which an example's new prompt differs from orig: before it, both runs are one.

    Attention is causal, so this is exact; two forward passes agree there to float error only.

    Args:
        real: ``real_tokens``, where it is known.
    """
    mask = np.zeros((len(dataset), dataset.longest), dtype=bool)
    for row, (orig, new) in enumerate(zip(dataset.orig, dataset.new, strict=True)):
        mask[row, : len(orig)] = np.array(orig) != np.array(new)
    return (real_tokens(dataset) if real is None else real) & np.logical_or.accumulate(mask, axis=1)


def positions_of(reference: PromptPosition, dataset: ResolvedDataset) -> NDArray[np.int64]:
    """One position per example: a role's, or the same index for all, negative from each prompt's end."""
    if isinstance(reference, str):
        return np.array(dataset.roles[reference], dtype=np.int64)
    lengths = np.array([len(prompt) for prompt in dataset.orig], dtype=np.int64)
    return np.full(len(dataset), reference) if reference >= 0 else lengths + reference


def mask_of(positions: Positions | None, dataset: ResolvedDataset, real: Mask | None = None) -> Mask:
    """True at the positions meant; absent means every token of the prompt.

    A list per example is indexed by the whole dataset, of which ``dataset`` may be a slice.

    Args:
        real: ``real_tokens``, where it is known.
    """
    real = real_tokens(dataset) if real is None else real
    if positions is None:
        return real
    mask = np.zeros_like(real)
    if isinstance(positions, list) and positions and isinstance(positions[0], list):
        for row, own in enumerate(positions[dataset.start : dataset.start + len(dataset)]):
            assert isinstance(own, list)
            mask[row, [position for position in own if position < mask.shape[1]]] = True
        return real & mask
    for reference in positions if isinstance(positions, list) else [positions]:
        assert not isinstance(reference, list)
        mask |= np.arange(dataset.longest) == positions_of(reference, dataset)[:, None]
    return real & mask


def up_to(mask: Mask) -> Mask:
    """True at and before an example's last True: what attention lets those positions see."""
    return np.logical_or.accumulate(mask[:, ::-1], axis=1)[:, ::-1]


def span(mask: Mask, last: Mask) -> Mask:
    """True from an example's first True of ``mask`` to its last True of ``last``: where a change can spread."""
    return np.logical_or.accumulate(mask, axis=1) & up_to(last)


key_of = repr
"""Of positions, equal for equal ones only: the role named ``1`` is not the index 1."""


class Places:
    """Where the nodes of a patch take part: of the patch's own positions, those that a node names too."""

    def __init__(
        self, positions: Positions | None, dataset: ResolvedDataset, graph: Graph, source: str | None = None
    ) -> None:
        """
        Args:
            source: Of a patch, to leave out positions at which it cannot differ from orig; by default all stay.
        """
        self.dataset, self.graph = dataset, graph
        self.real = real_tokens(dataset)
        """True where a prompt has a token."""
        self.changeable = after_first_difference(dataset, self.real) if source == "new" else self.real
        """Where anything can differ from orig."""
        self._patch = self.changeable & mask_of(positions, dataset, self.real)
        self._masks: dict[str, Mask] = {}
        self._examples: dict[tuple[str, str], frozenset[int]] = {}

    def of(self, positions: Positions | None) -> Mask:
        """Where a node with these positions takes part; the same array for equal positions."""
        key = key_of(positions)
        if key not in self._masks:
            self._masks[key] = self._patch & mask_of(positions, self.dataset, self.real)
        return self._masks[key]

    def examples_shared(self, first: Node, second: Node) -> frozenset[int]:
        """Examples in which both nodes take part at one position."""
        key = (key_of(first.positions), key_of(second.positions))
        if key not in self._examples:
            shared = self.of(first.positions) & self.of(second.positions)
            self._examples[key] = frozenset(np.flatnonzero(shared.any(axis=1)).tolist())
        return self._examples[key]

    def first_shared(self, first: Node, second: Node) -> tuple[int, int] | None:
        """The first example and position at which both nodes take part."""
        shared = np.argwhere(self.of(first.positions) & self.of(second.positions))
        return (int(shared[0][0]), int(shared[0][1])) if len(shared) else None


def twice_counted(
    nodes: Sequence[Node], places: Places, are_senders: bool
) -> Iterator[tuple[Node, Node, int, tuple[int, int]]]:
    """Pairs of nodes (earlier, later, the later one's index) that have an edge in common, and where; one per node.

    Args:
        are_senders: A residual point as a sender replaces all that was written before it.
    """
    found: set[int] = set()
    for earlier, later in (places.graph.overlaps if are_senders else places.graph.clashes)(nodes):
        if later not in found and (shared := places.first_shared(nodes[earlier], nodes[later])):
            found.add(later)
            yield nodes[earlier], nodes[later], later, shared


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


@dataclass(frozen=True, eq=False)
class Attending:
    """Prompts whose queries are computed together, from one position on."""

    prompts: NDArray[np.int64]
    start: int


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The distinct prefixes of some prompts, in the order in which they are first found."""

    place: NDArray[np.int64]
    """(prompt, position): which prefix ends there; in the padding of a shorter prompt, its whole."""
    first: NDArray[np.int64]
    """(prefix,): where it is found first, as an index into all of ``place``."""
    positions: NDArray[np.int64]
    """(prefix,): the position at which it ends."""
    are_all: bool
    """Whether every position has a prefix of its own, so that nothing is saved."""

    def __len__(self) -> int:
        return len(self.first)

    def attending(self) -> list[Attending]:
        """All prompts at once, or those apart whose own rows begin late, where that saves much."""
        n_prompts, n_pos = self.place.shape
        starts = np.full(n_prompts, n_pos - 1)
        np.minimum.at(starts, self.first // n_pos, self.positions)
        order = np.argsort(starts, kind="stable")
        saved = np.arange(n_prompts, 0, -1) * (starts[order] - starts[order[0]])
        split = int(np.argmax(saved))
        if n_pos < SHORT or saved[split] < LEAST_SAVED * self.place.size:
            return [Attending(np.arange(n_prompts), 0)]
        early, late = np.sort(order[:split]), np.sort(order[split:])
        return [Attending(early, 0), Attending(late, int(starts[late].min()))]


def prefixes_of(prompts: Sequence[Sequence[int]]) -> Prefixes:
    """The prefixes of some prompts, none of which is empty."""
    lengths = np.array([len(prompt) for prompt in prompts])
    n_pos = int(lengths.max())
    tokens = np.zeros((len(prompts), n_pos), dtype=np.int64)
    tokens[np.arange(n_pos) < lengths[:, None]] = np.concatenate([np.asarray(prompt) for prompt in prompts])
    place = np.zeros_like(tokens)
    first: list[NDArray[np.int64]] = []
    n_found, begun = 0, np.zeros(len(prompts), dtype=np.int64)
    for position in range(n_pos):
        going = np.flatnonzero(lengths > position)
        key = (begun[going] << 32) | tokens[going, position]
        _, at, own = np.unique(key, return_index=True, return_inverse=True)
        begun[going] = n_found + own
        first.append(going[at] * n_pos + position)
        n_found += len(at)
        place[:, position] = begun
    found = np.concatenate(first)
    order = np.argsort(found)  # numbered anew, prompt by prompt: what belongs to one prompt lies together
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return Prefixes(number[place], found[order], found[order] % n_pos, are_all=found.size == place.size)


def prefix_count(prompts: Sequence[list[int]]) -> int:
    """How many distinct prefixes some prompts have: in their order, each adds what it does not share with the last."""
    ordered = sorted(prompts)
    shared = (sum(1 for _ in takewhile(bool, map(eq, *two))) for two in pairwise(ordered))
    return sum(map(len, ordered)) - sum(shared)
