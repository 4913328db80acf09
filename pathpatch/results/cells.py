"""Names of the cells of a sweep: ``9.6`` for a head, ``z 9.6 -> q 10.7`` for an edge."""

from collections.abc import Mapping, Sequence
from typing import Any

SIDES = ("sender_", "receiver_", "")
PARTS = ("hook", "layer", "head", "neuron", "position")


def place_name(coordinates: Mapping[str, Any], prefix: str = "", token: str | None = None) -> str:
    """One end of a cell in words, such as ``9.6``, ``mlp_out 3`` or ``9.6 at end``; empty where the end has no axis."""
    hook, layer, head, neuron, position = (coordinates.get(prefix + part) for part in PARTS)
    index = head if head is not None else neuron
    place = "" if layer is None else f"{layer}" + ("" if index is None else f".{index}")
    name = " ".join(str(part) for part in (hook, place) if part not in (None, ""))
    if layer is None and index is not None:
        name = f"{name} {'head' if head is not None else 'neuron'} {index}".strip()
    if position is None:
        return name
    where = f"{position}" + ("" if token is None else f" {token!r}")
    return f"{name} at {where}" if name else (where if isinstance(position, str) else f"position {where}")


def _token_at(tokens: Sequence[str] | None, position: Any) -> str | None:
    if tokens is None or not isinstance(position, int) or position >= len(tokens):
        return None
    return tokens[position]


def _is_layer_alone(coordinates: Mapping[str, Any], prefix: str) -> bool:
    named = {part for part in PARTS if coordinates.get(prefix + part) is not None}
    return "layer" in named and named <= {"layer", "position"}


def cell_name(coordinates: Mapping[str, Any], tokens: Sequence[str] | None = None) -> str:
    """The whole cell in words: both ends of an edge, or the one end that was swept."""
    ends = []
    for prefix in SIDES:
        position = coordinates.get(f"{prefix}position")
        token = _token_at(tokens, position)
        name = place_name(coordinates, prefix, token)
        ends.append(f"layer {name}" if _is_layer_alone(coordinates, prefix) else name)
    named = [end for end in ends if end]
    if coordinates.get("example") is not None:
        named.append(f"example {coordinates['example']}")
    return " → ".join(named) if all(ends[:2]) else ", ".join(named)


def side_of(axis: str) -> str:
    """The end that an axis belongs to, as its prefix: ``sender_``, ``receiver_`` or nothing."""
    return next(side for side in SIDES if axis.startswith(side))


def part_of(axis: str) -> str:
    """What an axis counts, without its side: ``layer``, ``head``, ..."""
    return axis.removeprefix(side_of(axis))
