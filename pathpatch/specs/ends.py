"""Nodes, the ends of patched paths: heads by their names, MLPs, neurons, the residual stream, and sweeps of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, Literal, SupportsIndex

from api_schemas.nodes import Node, SweepOf
from pathpatch.problems import SpecError
from pathpatch.specs.building import build

HeadName = str | SupportsIndex | tuple[SupportsIndex, SupportsIndex]
Position = int | str
Positions = Position | Sequence[Position] | Sequence[Sequence[int]]
End = Node | Sequence[Node] | SweepOf


def head_place(name: HeadName) -> dict[str, int]:
    """Layer and head of ``"9.6"`` or ``(9, 6)``; a layer alone, ``9``, means all of its heads.

    Raises:
        SpecError: The name is none of these.
    """
    numbers = _whole_numbers(name)
    if numbers is None or len(numbers) not in (1, 2) or min(numbers) < 0:
        said = f"{name!r} is no head: write layer and head, as '9.6' or (9, 6), both counted from 0"
        if isinstance(name, float):
            said += "; a number cannot tell 10.1 from 10.10, so quote it"
        raise SpecError(said)
    return dict(zip(("layer", "head"), numbers, strict=False))


def _whole_numbers(name: object) -> list[int] | None:
    """The numbers of a head's name, numpy's and torch's too; None where it is no such name."""
    parts = name.split(".") if isinstance(name, str) else name
    if isinstance(parts, SupportsIndex):
        parts = [parts]
    if isinstance(parts, float) or not isinstance(parts, Iterable):
        return None
    try:
        return [int(part) if isinstance(part, str) else index(part) for part in parts]
    except (TypeError, ValueError):
        return None


def _heads(
    hook: str, names: tuple[HeadName, ...], positions: Positions | None, *, query_head: bool = False
) -> list[Node]:
    places = [head_place(name) for name in names]
    if query_head:
        places = [{"query_head" if part == "head" else part: number for part, number in one.items()} for one in places]
    return [build(Node, hook=hook, **place, positions=positions) for place in places]


def heads(*names: HeadName, positions: Positions | None = None) -> list[Node]:
    """Heads' outputs (``z``), as senders: ``heads("9.6", (9, 9))``; ``heads(9)`` is all of layer 9."""
    return _heads("z", names, positions)


def query(*names: HeadName, positions: Positions | None = None) -> list[Node]:
    """Heads' queries, as receivers: ``query("10.7")``."""
    return _heads("q", names, positions)


def key(*names: HeadName, positions: Positions | None = None, query_head: bool = False) -> list[Node]:
    """Heads' keys, as receivers: ``key("5.5")``.

    Args:
        query_head: Where query heads share key-value heads, the names count query heads: what each alone reads.
    """
    return _heads("k", names, positions, query_head=query_head)


def value(*names: HeadName, positions: Positions | None = None, query_head: bool = False) -> list[Node]:
    """Heads' values, as receivers: ``value("8.6")``; ``query_head`` as for ``key``."""
    return _heads("v", names, positions, query_head=query_head)


def pattern(*names: HeadName, positions: Positions | None = None) -> list[Node]:
    """Heads' attention patterns, as receivers: the change reaches query and key, not the value."""
    return _heads("pattern", names, positions)


def mlp(*layers: int, positions: Positions | None = None) -> list[Node]:
    """Whole MLPs' outputs (``mlp_out``), as senders: ``mlp(0, 1)``."""
    return [build(Node, hook="mlp_out", layer=layer, positions=positions) for layer in layers]


def mlp_in(*layers: int, positions: Positions | None = None) -> list[Node]:
    """Whole MLPs' inputs, both branches of a gated one, as receivers: ``mlp_in(9)``."""
    return [build(Node, hook="mlp_in", layer=layer, positions=positions) for layer in layers]


def neurons(
    layer: int, *indices: int, hook: Literal["post", "pre", "mlp_in"] = "post", positions: Positions | None = None
) -> list[Node]:
    """Single MLP neurons: activations (``post``) as senders, pre-activations (``pre``, ``mlp_in``) as receivers."""
    return [build(Node, hook=hook, layer=layer, neuron=index, positions=positions) for index in indices]


def attn(*layers: int, positions: Positions | None = None) -> list[Node]:
    """Whole attention layers' outputs (``attn_out``), as senders."""
    return [build(Node, hook="attn_out", layer=layer, positions=positions) for layer in layers]


def resid(layer: int, where: Literal["pre", "mid", "post"] = "post", positions: Positions | None = None) -> list[Node]:
    """The residual stream of one layer: ``resid(11)`` is the last of GPT-2 small, which the logits are read from."""
    return [build(Node, hook=f"resid_{where}", layer=layer, positions=positions)]


def embed(positions: Positions | None = None) -> list[Node]:
    """The token embedding, as sender."""
    return [build(Node, hook="embed", positions=positions)]


def pos_embed(positions: Positions | None = None) -> list[Node]:
    """The position embedding, as sender."""
    return [build(Node, hook="pos_embed", positions=positions)]


def sweep(
    hook: str | Sequence[str],
    layers: Literal["all"] | Sequence[int] = "all",
    heads: Literal["all", "joint"] | Sequence[int] | None = None,
    neurons: Literal["all", "joint"] | Sequence[int] | None = None,
    positions: Literal["each"] | Sequence[Position] | None = None,
) -> SweepOf:
    """One result per cell instead of one in all: ``sweep("z")`` is every head by itself.

    Args:
        hook: One hook, or several, which then form the first axis.
        heads: ``all`` (the default for z, q, k, v, pattern), a list, or ``joint``: all heads of a layer as one node.
        neurons: As ``heads``, for pre and post; ``joint`` is the default.
        positions: ``each`` token position, or a list of positions and roles, one cell each; None: all together.
    """
    grid = {"hook": _listed(hook), "layers": _listed(layers)}
    choices = {"heads": _listed(heads), "neurons": _listed(neurons), "positions": _listed(positions)}
    return build(SweepOf, sweep=grid | {name: choice for name, choice in choices.items() if choice is not None})


def _listed(choice: Any) -> Any:
    return list(choice) if isinstance(choice, Iterable) and not isinstance(choice, str) else choice
