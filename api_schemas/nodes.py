"""Nodes of the computation graph, as a spec names them: the ends of a patched path, and sweeps of them."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from api_schemas.errors import Misfit
from api_schemas.frozen import Frozen

SENDER_HOOKS = ("z", "attn_out", "mlp_out", "post", "resid_pre", "resid_mid", "resid_post", "embed", "pos_embed")
RECEIVER_HOOKS = ("q", "k", "v", "pattern", "pre", "mlp_in", "resid_pre", "resid_mid", "resid_post")
NODE_HOOKS = tuple(dict.fromkeys(SENDER_HOOKS + RECEIVER_HOOKS))
ACTIVATION_HOOKS = tuple(hook for hook in NODE_HOOKS if hook != "mlp_in")
"""What activation patching sets; ``mlp_in`` is an input that several activations share."""
HEAD_HOOKS = frozenset({"z", "q", "k", "v", "pattern"})
QUERY_HEAD_HOOKS = frozenset({"k", "v"})
"""Hooks whose heads are key-value heads, each read by a group of query heads."""
NEURON_HOOKS = frozenset({"pre", "post", "mlp_in"})
RESIDUAL_HOOKS = frozenset({"resid_pre", "resid_mid", "resid_post"})
EMBEDDING_HOOKS = frozenset({"embed", "pos_embed"})

Hook = Literal[
    "z", "attn_out", "mlp_out", "post", "resid_pre", "resid_mid", "resid_post", "embed", "pos_embed",
    "q", "k", "v", "pattern", "pre", "mlp_in",
]  # fmt: skip
Index = Annotated[int, Field(ge=0)]
PositionRef = Annotated[int, Field(ge=0)] | Annotated[str, Field(min_length=1)]
PromptPosition = int | Annotated[str, Field(min_length=1)]
"""A position in each prompt: an index, negative from its end, or a role."""
"""One position of every example: a 0-based token index, or the name of a role."""
Positions = PositionRef | list[PositionRef] | list[list[Annotated[int, Field(ge=0)]]]
"""An index, a role, a list of these (the same for every example), or one list of indices per example."""

_BLOCK_NAME = re.compile(r"blocks\.(\d+)\.(?:attn\.|mlp\.)?hook_(\w+)")
_HOOK_PREFIX = {
    "z": "attn.",
    "q": "attn.",
    "k": "attn.",
    "v": "attn.",
    "pattern": "attn.",
    "pre": "mlp.",
    "post": "mlp.",
}


def hook_name(hook: str, layer: int | None) -> str:
    """The hook's full TransformerLens name, such as ``blocks.9.attn.hook_z``."""
    if hook in EMBEDDING_HOOKS:
        return f"hook_{hook}"
    return f"blocks.{layer}.{_HOOK_PREFIX.get(hook, '')}hook_{hook}"


def _split_full_name(data: Any) -> Any:
    """Accept a full TransformerLens hook name in place of the short hook and the layer."""
    if not isinstance(data, dict) or not isinstance(data.get("hook"), str):
        return data
    name = data["hook"]
    if name in ("hook_embed", "hook_pos_embed"):
        return {**data, "hook": name.removeprefix("hook_")}
    match = _BLOCK_NAME.fullmatch(name)
    if match is None or hook_name(match[2], int(match[1])) != name:
        return data
    layer = int(match[1])
    if data.get("layer", layer) != layer:
        raise Misfit(
            (("layer",), f"layer {data['layer']} contradicts the hook name {name!r}, which is of layer {layer}")
        )
    return {**data, "hook": match[2], "layer": layer}


class Node(Frozen):
    """One activation, or the whole layer's if neither head nor neuron is given."""

    hook: Annotated[Hook, Field(examples=["z"])]
    """The hook; a full TransformerLens name such as `blocks.9.attn.hook_z` is accepted too."""
    layer: Annotated[Index | None, Field(examples=[9])] = None
    """0-based layer; absent for `embed` and `pos_embed` only."""
    head: Annotated[Index | None, Field(examples=[6])] = None
    """0-based head, with `z q k v pattern` only; absent means every head of the layer. On `k v` a key-value head."""
    query_head: Annotated[Index | None, Field(examples=[None])] = None
    """In place of `head` on `k v`: what this one query head reads of its key-value head, its neighbours untouched."""
    neuron: Annotated[Index | None, Field(examples=[None])] = None
    """0-based MLP neuron, with `pre post mlp_in` only; absent means every neuron of the layer."""
    positions: Annotated[Positions | None, Field(examples=[None])] = None
    """Narrows the patch's positions for this node. Absent: all of the patch's positions."""

    @model_validator(mode="before")
    @classmethod
    def _accept_full_names(cls, data: Any) -> Any:
        return _split_full_name(data)

    @model_validator(mode="after")
    def _indices_fit_the_hook(self) -> "Node":
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if self.hook in EMBEDDING_HOOKS and self.layer is not None:
            sentence = f"layer {self.layer} does not go with hook {self.hook!r}: embeddings have no layer"
            problems.append((("layer",), sentence))
        if self.hook not in EMBEDDING_HOOKS and self.layer is None:
            problems.append((("layer",), f"hook {self.hook!r} needs a layer"))
        if self.head is not None and self.hook not in HEAD_HOOKS:
            sentence = f"head {self.head} does not go with hook {self.hook!r}: it goes with z, q, k, v, pattern"
            problems.append((("head",), sentence))
        if self.neuron is not None and self.hook not in NEURON_HOOKS:
            sentence = f"neuron {self.neuron} does not go with hook {self.hook!r}: it goes with pre, post, mlp_in"
            problems.append((("neuron",), sentence))
        if self.query_head is not None and self.hook not in QUERY_HEAD_HOOKS:
            sentence = f"query_head {self.query_head} does not go with hook {self.hook!r}: it goes with k, v"
            problems.append((("query_head",), sentence))
        elif self.query_head is not None and self.head is not None:
            sentence = f"give head or query_head, not both: head {self.head} is a key-value head"
            problems.append((("query_head",), sentence))
        if problems:
            raise Misfit(*problems)
        return self

    @property
    def hook_name(self) -> str:
        """The full name, as TransformerLens spells it."""
        return hook_name(self.hook, self.layer)

    def __str__(self) -> str:
        index: object = self.head if self.head is not None else self.neuron
        if self.query_head is not None:
            index = f"{self.query_head} (query head)"
        place = "" if self.layer is None else f" {self.layer}" + ("" if index is None else f".{index}")
        where = f" at {self.positions}" if isinstance(self.positions, int | str) else ""
        return f"{self.hook}{place}{where}"


class Sweep(Frozen):
    """A grid of nodes, one result per cell."""

    hook: Annotated[Hook | Annotated[list[Hook], Field(min_length=1)], Field(examples=["z"])]
    """One hook, or several, which then form the first axis; all must take the same indices."""
    layers: Annotated[Literal["all"] | Annotated[list[Index], Field(min_length=1)], Field(examples=["all"])] = "all"
    """Layers of the grid."""
    heads: Annotated[
        Literal["all", "joint"] | Annotated[list[Index], Field(min_length=1)] | None, Field(examples=["all"])
    ] = None
    """Heads of the grid, with `z q k v pattern` (key-value heads for `k v`): all, a list, or `joint`: a layer's heads
    as one node. Absent: all, but joint where `hook` is a list that names a hook without heads too, such as
    `["z", "mlp_out"]`."""
    neurons: Annotated[
        Literal["all", "joint"] | Annotated[list[Index], Field(min_length=1)] | None, Field(examples=[None])
    ] = None
    """Neurons of the grid, with `pre post mlp_in`: all, a list, or `joint` (the default)."""
    positions: Annotated[
        Literal["each"] | Annotated[list[PositionRef], Field(min_length=1)] | None, Field(examples=[None])
    ] = None
    """`each` token position, or a list of positions and roles, one cell per entry; absent: all positions together."""

    @model_validator(mode="after")
    def _indices_fit_the_hooks(self) -> "Sweep":
        takes_heads = {hook in HEAD_HOOKS for hook in self.hooks}
        takes_neurons = {hook in NEURON_HOOKS for hook in self.hooks}
        problems: list[tuple[tuple[str | int, ...], str]] = []
        if any(hook in EMBEDDING_HOOKS for hook in self.hooks):
            problems.append((("hook",), "embed and pos_embed have no layers to sweep: give them as nodes"))
        if len(set(self.hooks)) != len(self.hooks):
            problems.append((("hook",), f"{', '.join(self.hooks)}: a hook is named twice"))
        if len(takes_heads) > 1 and self.heads not in (None, "joint"):
            sentence = f"{', '.join(self.hooks)} do not all have heads: sweep them apart, or with heads 'joint'"
            problems.append((("heads",), sentence))
        if self.heads is not None and True not in takes_heads:
            sentence = f"heads do not go with {', '.join(self.hooks)}: they go with z, q, k, v, pattern"
            problems.append((("heads",), sentence))
        if self.neurons is not None and takes_neurons != {True}:
            sentence = f"neurons do not go with {', '.join(self.hooks)}: they go with pre, post, mlp_in"
            problems.append((("neurons",), sentence))
        if problems:
            raise Misfit(*problems)
        return self

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hook, or all of several."""
        return tuple(self.hook) if isinstance(self.hook, list) else (self.hook,)

    @property
    def head_choice(self) -> Literal["all", "joint"] | list[int] | None:
        """``heads``, or its default; None where no hook has heads."""
        if HEAD_HOOKS.isdisjoint(self.hooks):
            return None
        return self.heads or ("all" if HEAD_HOOKS.issuperset(self.hooks) else "joint")

    @property
    def neuron_choice(self) -> Literal["all", "joint"] | list[int] | None:
        """``neurons``, or its default; None where not every hook has neurons."""
        return self.neurons or "joint" if NEURON_HOOKS.issuperset(self.hooks) else None


class SweepOf(Frozen):
    """The wrapper that distinguishes a sweep from a list of nodes."""

    sweep: Sweep
    """The grid."""


NodeList = Annotated[list[Node], Field(min_length=1)]
