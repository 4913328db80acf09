"""Which tensors a decoder's checkpoint holds, from a family's names and an architecture's sizes.

Roles, as ``worker.models.assembly`` reads them: ``W_`` and ``b_`` with ``Q``, ``K``, ``V``, ``O``, ``in``, ``gate`` or
``out`` are linear maps as torch stores them, outputs first. ``QKV`` holds queries, keys and values one after the other,
``QKV_by_head`` head by head, ``gate_in`` the gate before the other branch. ``_w`` and ``_b`` are gain and bias of a
norm, or of several that share them. ``W_E``, ``W_pos``, ``W_U`` and ``b_U`` are as TransformerLens names them, rows of
tokens or positions first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from checkpoints.families.record import Part
from planning.architecture import Architecture

NO_BIASES: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Layout:
    """A family's names of tensors."""

    embedding: str
    block: str
    """Of a layer, before its number."""
    linear: Mapping[str, str]
    """Name within the block by role, without ``W_``."""
    norms: Mapping[str, str]
    """Name within the block by role, without ``_w``; several roles are parted by blanks."""
    final_norm: str
    head_norms: Mapping[str, str] = field(default_factory=dict)
    """Norms of one head's queries and keys, likewise."""
    positions: str | None = None
    first_position: int = 0
    """Row of the first token's position."""
    has_unembedding_bias: bool = False

    def parts(self, architecture: Architecture, biased: frozenset[str] = NO_BIASES) -> Iterator[Part]:
        """Every tensor of a checkpoint but the unembedding.

        Args:
            biased: Linear maps that have a bias, by role.
        """
        width = architecture.d_model
        yield Part(f"{self.embedding}.weight", (architecture.d_vocab, width), "W_E")
        if self.positions is not None:
            yield Part(f"{self.positions}.weight", (architecture.n_ctx + self.first_position, width), "W_pos")
        for layer in range(architecture.n_layers):
            yield from self._layer(architecture, biased, layer)
        yield from _norm(self.final_norm, "ln_final", width, architecture, None)
        if self.has_unembedding_bias:
            yield Part("lm_head.bias", (architecture.d_vocab,), "b_U")

    def _layer(self, architecture: Architecture, biased: frozenset[str], layer: int) -> Iterator[Part]:
        block, shapes = f"{self.block}.{layer}", linear_shapes(architecture)
        for role, name in self.norms.items():
            yield from _norm(f"{block}.{name}", role, architecture.d_model, architecture, layer)
        for role, name in self.head_norms.items():
            yield from _norm(f"{block}.{name}", role, architecture.d_head, architecture, layer)
        for role, name in self.linear.items():
            yield Part(f"{block}.{name}.weight", shapes[role], f"W_{role}", layer)
            if role in biased:
                yield Part(f"{block}.{name}.bias", shapes[role][:1], f"b_{role}", layer)


def linear_shapes(architecture: Architecture) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of each linear map."""
    width, neurons = architecture.d_model, architecture.d_mlp
    queries, keys = architecture.n_heads * architecture.d_head, architecture.n_kv_heads * architecture.d_head
    return {
        "Q": (queries, width),
        "K": (keys, width),
        "V": (keys, width),
        "QKV": (queries + 2 * keys, width),
        "QKV_by_head": (3 * queries, width),
        "O": (width, queries),
        "in": (neurons, width),
        "gate": (neurons, width),
        "gate_in": (2 * neurons, width),
        "out": (width, neurons),
    }


def _norm(name: str, role: str, size: int, architecture: Architecture, layer: int | None) -> Iterator[Part]:
    roles = role.split()
    yield Part(f"{name}.weight", (size,), " ".join(f"{one}_w" for one in roles), layer)
    if architecture.norm == "layer_norm":
        yield Part(f"{name}.bias", (size,), " ".join(f"{one}_b" for one in roles), layer)
