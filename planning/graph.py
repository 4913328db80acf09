"""The computation graph of a model: what each node writes or reads, in which order, and who can change whom.

An activation has a *time*: its place in the order of a forward pass. A sender changes a receiver only if its time is
strictly smaller. The stages of a layer, and what follows from their order, stand here and nowhere else.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Protocol, runtime_checkable

from api_schemas.nodes import RESIDUAL_HOOKS
from planning.architecture import Architecture


class Stage(IntEnum):
    """Order within a layer."""

    RESID_PRE = 0
    ATTENTION_INPUT = auto()
    """Queries, keys and values are read from the stream."""
    HEADS = auto()
    """Heads write to the stream."""
    RESID_MID = auto()
    MLP_INPUT = auto()
    """Neurons are read from the stream."""
    MLP = auto()
    """Neurons write to the stream."""


N_STAGES = len(Stage)
EMBEDDING_TIME = -1
_STAGE_OF = {
    "resid_pre": Stage.RESID_PRE,
    **dict.fromkeys(("q", "k", "v", "query_k", "query_v", "pattern"), Stage.ATTENTION_INPUT),
    **dict.fromkeys(("z", "attn_out"), Stage.HEADS),
    "resid_mid": Stage.RESID_MID,
    **dict.fromkeys(("pre", "mlp_in"), Stage.MLP_INPUT),
    **dict.fromkeys(("post", "mlp_out"), Stage.MLP),
}


@runtime_checkable
class Named(Protocol):
    """Whatever names an activation: a node of a spec, or a site of a plan."""

    @property
    def hook(self) -> str: ...
    @property
    def layer(self) -> int | None: ...
    @property
    def head(self) -> int | None: ...
    @property
    def neuron(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Site:
    """One activation: a hook of a layer, or of one head or neuron of it. Embeddings have no layer.

    Under grouped heads ``k`` and ``v`` count key-value heads, and ``query_k`` and ``query_v`` are what each query head
    reads of them.
    """

    hook: str
    layer: int | None = None
    head: int | None = None
    neuron: int | None = None

    @classmethod
    def of(cls, node: Named) -> "Site":
        """The site that a spec's node names; ``resid_post`` of a layer is ``resid_pre`` of the next."""
        if node.hook == "resid_post" and node.layer is not None:
            return cls("resid_pre", node.layer + 1)
        query_head = getattr(node, "query_head", None)
        if query_head is not None:
            return cls(f"query_{node.hook}", node.layer, query_head)
        return cls(node.hook, node.layer, node.head, node.neuron)

    @property
    def unit(self) -> int | None:
        """The head or neuron; None for the whole layer."""
        return self.head if self.head is not None else self.neuron


def layer_of(node: Named) -> int:
    """The layer in whose computation a node takes part; the last residual stream belongs to layer ``n_layers``."""
    if node.layer is None:
        return 0
    return node.layer + (node.hook == "resid_post")


def mlp_at(time: int) -> int | None:
    """The layer whose MLP writes at this time; None if no MLP does."""
    layer, stage = divmod(time, N_STAGES)
    return layer if time >= 0 and stage == Stage.MLP else None


def is_mlp_read(time: int) -> bool:
    """Whether the MLP of a parallel block reads the stream at this time: before the heads of its layer write."""
    return time >= 0 and time % N_STAGES == Stage.ATTENTION_INPUT


def is_in_attention(hook: str) -> bool:
    """Whether an activation lies within an attention layer: after the stream that it reads, before its output."""
    return _STAGE_OF.get(hook) in (Stage.ATTENTION_INPUT, Stage.HEADS) and hook != "attn_out"


def is_in_mlp(hook: str) -> bool:
    """Whether an activation lies within an MLP: after the stream that it reads, before its output."""
    return _STAGE_OF.get(hook) in (Stage.MLP_INPUT, Stage.MLP) and hook != "mlp_out"


def mlps_between(first: int, last: int) -> int:
    """How many MLPs write after one time and before another."""
    return sum(mlp_at(time) is not None for time in range(first + 1, last))


class Reach(Enum):
    """Which rows of a changed activation can be seen where a metric is read."""

    NONE = auto()
    AT_POSITION = auto()
    """The row of that position alone."""
    UP_TO_POSITION = auto()
    """That row and all before it: attention carries them there."""


@dataclass(frozen=True)
class Graph:
    """Order and edges of the nodes of a model."""

    architecture: Architecture

    def time_of(self, node: Named) -> int:
        """Place in the order of a forward pass; ``resid_post`` of a layer is ``resid_pre`` of the next.

        In a parallel block the MLP reads before the heads of its layer write.
        """
        if node.layer is None:
            return EMBEDDING_TIME
        if node.hook == "resid_post":
            return (node.layer + 1) * N_STAGES + Stage.RESID_PRE
        stage = _STAGE_OF[node.hook]
        if stage is Stage.MLP_INPUT and self.architecture.is_parallel:
            stage = Stage.ATTENTION_INPUT
        return node.layer * N_STAGES + stage

    def input_of(self, receiver: Named) -> tuple[str, int]:
        """The point of the residual stream that a receiver reads: ``resid_pre`` or ``resid_mid`` of a layer."""
        reads_mid = receiver.hook in ("pre", "mlp_in", "resid_mid") and not self.architecture.is_parallel
        return ("resid_mid" if reads_mid else "resid_pre"), Site.of(receiver).layer or 0

    def reaches(self, sender: Named, receivers: Iterable[Named]) -> bool:
        """Whether the sender comes before at least one of the receivers."""
        return any(self.time_of(sender) < self.time_of(receiver) for receiver in receivers)

    def reach_of_logits(self, node: Named, is_input: bool) -> Reach:
        """Which rows of a node reach the logits at a position: after the last attention, that position alone.

        Args:
            is_input: Whether what the node reads changes, or its own value: a pattern's input is a query and its keys.
        """
        last_attention = self.time_of(Site("q", self.architecture.n_layers - 1))
        if self.time_of(node) > last_attention:
            return Reach.AT_POSITION
        queries = ("q", "pre", "mlp_in") if is_input else ("q", "pre", "mlp_in", "pattern")
        is_query = self.time_of(node) == last_attention and node.hook in queries
        return Reach.AT_POSITION if is_query else Reach.UP_TO_POSITION

    def reach_of_attention(self, node: Named, layer: int, head: int, is_input: bool) -> Reach:
        """Which rows of a node reach the attention of a query head from a position.

        Args:
            is_input: As for ``reach_of_logits``.
        """
        site = Site.of(node)
        if site.layer is None or site.layer < layer:
            return Reach.UP_TO_POSITION
        if site.layer > layer:
            return Reach.NONE
        if site.hook == "resid_pre":
            return Reach.UP_TO_POSITION
        heads = self.query_heads_of(site)
        if heads is not None and head not in heads:
            return Reach.NONE
        if site.hook == "pattern" and not is_input:
            return Reach.AT_POSITION
        of_hook = {"q": Reach.AT_POSITION, **dict.fromkeys(("k", "query_k", "pattern"), Reach.UP_TO_POSITION)}
        return of_hook.get(site.hook, Reach.NONE)

    def query_heads_of(self, node: Named) -> range | None:
        """The query heads that read a head's activation; None if the node is no single head."""
        site = Site.of(node)
        if site.head is None:
            return None
        size = self.architecture.group_size if site.hook in ("k", "v") else 1
        return range(site.head * size, (site.head + 1) * size)

    def clashes(self, nodes: Sequence[Named]) -> Iterator[tuple[int, int]]:
        """Pairs of indices (earlier, later) of nodes that include one another, wherever each takes part."""
        seen: dict[tuple[str, int | None], dict[int | None, list[int]]] = defaultdict(lambda: defaultdict(list))
        for later, node in enumerate(nodes):
            found: set[int] = set()
            units = self.query_heads_of(node) or [node.neuron]
            for edge in self._edges(node):
                known = seen[edge]
                alike = known.keys() if list(units) == [None] else {*units, None}
                found.update(earlier for other in alike for earlier in known.get(other, []))
                for unit in units:
                    known[unit].append(later)
            yield from ((earlier, later) for earlier in sorted(found - {later}))

    def overlaps(self, senders: Sequence[Named]) -> Iterator[tuple[int, int]]:
        """Pairs of indices (earlier, later) of senders that write the same; a residual point replaces all before it."""
        yield from self.clashes(senders)
        for index, node in enumerate(senders):
            if node.hook in RESIDUAL_HOOKS:
                for other, earlier in enumerate(senders):
                    if other != index and self.time_of(earlier) <= self.time_of(node):
                        yield min(index, other), max(index, other)

    def _edges(self, node: Named) -> list[tuple[str, int | None]]:
        """What a node writes or reads, with its layer: two nodes clash if they share one, and its head or neuron."""
        if node.hook in RESIDUAL_HOOKS:
            return [("residual", self.time_of(node))]
        return [(edge, node.layer) for edge in _EDGES.get(node.hook, (node.hook,))]


RECEIVER_PARTS = {"pattern": ("q", "query_k"), "mlp_in": ("pre", "pre_linear")}
"""Receivers that stand for two activations: a pattern's query and keys, and what both branches of a gated MLP read."""
_EDGES = {
    "z": ("attn_out",),
    "post": ("mlp_out",),
    "pattern": ("q", "k"),
    "mlp_in": ("pre", "pre_linear"),
    "query_k": ("k",),
    "query_v": ("v",),
}
