"""The ground of the oracle of hooks: points of a model of transformers, runs that read them and runs that set them."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.hooked_parts import Hooked

Change = Callable[[Tensor], Tensor | None]
"""From an activation, [batch pos width], to what it becomes; None leaves it."""
Place = tuple[str, int | None]
"""A hook and its layer."""
Patch = tuple["Point", Change]


@dataclass(frozen=True)
class Point:
    """The input or the output of one module."""

    module: nn.Module
    is_input: bool = False


@torch.no_grad()
def run(hooked: Hooked, tokens: Tensor, changes: Sequence[Patch] = ()) -> Tensor:
    """Logits of a run in which points become what the changes, in their order, make of them: [batch pos d_vocab]."""
    with ExitStack() as stack:
        for point, change in changes:
            stack.callback(_register(point, change, tokens.shape).remove)
        return hooked.model(tokens, use_cache=False).logits


def _register(point: Point, change: Change, shape: torch.Size) -> Any:
    def changed(found: Any) -> Any:
        value = found[0] if isinstance(found, tuple) else found
        became = change(value.view(*shape, -1))  # OPT's neurons see all positions of all examples in a row
        if became is None:
            return None
        became = became.view(value.shape)
        return (became, *found[1:]) if isinstance(found, tuple) else became

    if point.is_input:
        return point.module.register_forward_pre_hook(lambda module, args: changed(args))
    return point.module.register_forward_hook(lambda module, args, output: changed(output))


def keeping(kept: dict[Any, Tensor], key: Any) -> Change:
    """A change that changes nothing, and keeps what it sees."""
    return lambda value: kept.__setitem__(key, value.clone())


def place_of(hooked: Hooked, hook: str, layer: int | None) -> Point:
    """Where an activation is seen."""
    if hook == "embed":
        return Point(hooked.embedding)
    assert layer is not None
    if hook in ("resid_pre", "resid_post"):
        return Point(hooked.block(layer), hook == "resid_pre")
    inputs = {"z": "o", "post": "down", "resid_mid": "ln2"}
    outputs = {"attn_out": "attn_writer", "mlp_out": "mlp_writer"}
    return Point(hooked.part(layer, (inputs | outputs)[hook]), hook in inputs)


def activations(
    hooked: Hooked, tokens: Tensor, places: Iterable[Place], changes: Sequence[Patch] = ()
) -> dict[Place, Tensor]:
    """Those at some hooks and layers of a run with changes."""
    kept: dict[Any, Tensor] = {}
    reading = [(place_of(hooked, *place), keeping(kept, place)) for place in dict.fromkeys(places)]
    run(hooked, tokens, [*changes, *reading])
    return kept


def setting(hooked: Hooked, hook: str, layer: int, target: Callable[[Tensor], Tensor]) -> list[Patch]:
    """Changes that make of a point of the stream what the target makes of it.

    After attention the stream is no module's input or output alone: what attention adds to it changes instead.
    """
    if hook != "resid_mid":
        return [(place_of(hooked, hook, layer), target)]
    live: dict[str, Tensor] = {}

    def written(attn_out: Tensor) -> Tensor:
        mid = live["pre"] + attn_out
        became = target(mid)
        return torch.where((became != mid).any(-1, keepdim=True), became - live["pre"], attn_out)

    return [
        (place_of(hooked, "resid_pre", layer), keeping(live, "pre")),
        (place_of(hooked, "attn_out", layer), written),
    ]
