"""Positions: from a spec's words to masks over tokens, of architecture (example, position).

An edge joins two nodes at one position: only attention moves anything between positions, and in path patching all
attention is orig's. So a sender reaches a receiver if it comes before it, and both take part at a common position.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from api_schemas.datasets import ResolvedDataset
from api_schemas.nodes import Node, Positions, PromptPosition
from planning.graph import Graph

Mask = NDArray[np.bool_]
"""(example, position), False in the padding of shorter prompts."""


def real_tokens(dataset: ResolvedDataset) -> Mask:
    """True where a prompt has a token."""
    lengths = np.array([len(prompt) for prompt in dataset.orig])
    return np.arange(dataset.longest)[None, :] < lengths[:, None]


def after_first_difference(dataset: ResolvedDataset) -> Mask:
    """True from the first token on in which an example's new prompt differs from orig: before it, both runs are one.

    Attention is causal, so this is exact; two forward passes agree there to float error only.
    """
    mask = np.zeros((len(dataset), dataset.longest), dtype=bool)
    for row, (orig, new) in enumerate(zip(dataset.orig, dataset.new, strict=True)):
        mask[row, : len(orig)] = np.array(orig) != np.array(new)
    return real_tokens(dataset) & np.logical_or.accumulate(mask, axis=1)


def positions_of(reference: PromptPosition, dataset: ResolvedDataset) -> NDArray[np.int64]:
    """One position per example: a role's, or the same index for all, negative from each prompt's end."""
    if isinstance(reference, str):
        return np.array(dataset.roles[reference], dtype=np.int64)
    lengths = np.array([len(prompt) for prompt in dataset.orig], dtype=np.int64)
    return np.full(len(dataset), reference) if reference >= 0 else lengths + reference


def mask_of(positions: Positions | None, dataset: ResolvedDataset) -> Mask:
    """True at the positions meant; absent means every token of the prompt.

    A list per example is indexed by the whole dataset, of which ``dataset`` may be a slice.
    """
    real = real_tokens(dataset)
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
        self.changeable = after_first_difference(dataset) if source == "new" else self.real
        """Where anything can differ from orig."""
        self._patch = self.changeable & mask_of(positions, dataset)
        self._masks: dict[str, Mask] = {}
        self._examples: dict[tuple[str, str], frozenset[int]] = {}

    def of(self, positions: Positions | None) -> Mask:
        """Where a node with these positions takes part; the same array for equal positions."""
        key = key_of(positions)
        if key not in self._masks:
            self._masks[key] = self._patch & mask_of(positions, self.dataset)
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
