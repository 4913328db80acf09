"""A second oracle: path patching on a model of transformers itself, with PyTorch hooks. No code of the engine.

It follows Wang et al. 2022, appendix B, and serves every family, so that it can be held against any checkpoint that
transformers reads. Prompts are padded on the right: in a decoder no row sees what follows it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from api_schemas.nodes import Node
from tests.hooked_parts import Hooked
from tests.hooked_runs import Patch, Place, Point, activations, keeping, place_of, run, setting

Masks = Mapping[int, Tensor]
"""By ``id`` of the node, [batch pos]."""

_READ_AT = {"resid_pre": 0, **dict.fromkeys(("q", "k", "v", "pattern"), 1), "resid_mid": 3, "pre": 4, "mlp_in": 4}
_WRITTEN_AT = {"embed": -1, "resid_pre": 0, "z": 2, "attn_out": 2, "resid_mid": 3, "post": 5, "mlp_out": 5}
_N_STAGES = 6


@dataclass(frozen=True)
class Final:
    """What the last run gave."""

    logits: Tensor
    """[batch pos d_vocab]"""
    patterns: list[Tensor]
    """Per layer [batch head query_pos key_pos]."""


# ---- senders ----------------------------------------------------------------------------------------------------


def written_at(sender: Node) -> int:
    """Its place in the order of a forward pass."""
    if sender.layer is None:
        return _WRITTEN_AT[sender.hook]
    if sender.hook == "resid_post":
        return _N_STAGES * (sender.layer + 1)
    return _N_STAGES * sender.layer + _WRITTEN_AT[sender.hook]


def read_at(hooked: Hooked, receiver: Node) -> int:
    """Likewise; a sender reaches it if it comes before."""
    assert receiver.layer is not None
    if receiver.hook == "resid_post":
        return _N_STAGES * (receiver.layer + 1)
    reads_pre = hooked.is_parallel and receiver.hook in ("pre", "mlp_in")
    return _N_STAGES * receiver.layer + (1 if reads_pre else _READ_AT[receiver.hook])


def replaced(hooked: Hooked, sender: Node, mask: Tensor, value: Tensor, new: Tensor) -> Tensor:
    """The sender's activation with its own entries from the new run."""
    unit = sender.head if sender.hook == "z" else sender.neuron
    mine = mask[:, :, None].expand(value.shape)
    if unit is not None:
        assert sender.layer is not None
        column = torch.zeros(value.shape[-1], dtype=torch.bool)
        column[hooked.columns(sender.layer, sender.hook)[unit]] = True
        mine = mine & column
    return torch.where(mine, new, value)


def write(hooked: Hooked, hook: str, layer: int, value: Tensor) -> Tensor:
    """What ``z`` or ``post`` of a layer adds to the stream: after its norm, where the family has one."""
    first, last = ("o", "attn_writer") if hook == "z" else ("down", "mlp_writer")
    linear, writer = hooked.part(layer, first), hooked.part(layer, last)
    out = linear.forward(value)
    return out if writer is linear else writer.forward(out)


@dataclass(frozen=True)
class Ends:
    """Both ends of a patch, and the two clean runs' activations at the senders and the receivers' inputs."""

    hooked: Hooked
    orig_tokens: Tensor
    senders: Sequence[Node]
    receivers: Sequence[Node]
    masks: Masks
    orig: Mapping[Place, Tensor]
    new: Mapping[Place, Tensor]

    def before(self, receiver: Node) -> list[Node]:
        """The senders that come before a receiver, in the order of a forward pass."""
        time = read_at(self.hooked, receiver)
        return sorted((sender for sender in self.senders if written_at(sender) < time), key=written_at)

    def replaced(self, sender: Node, value: Tensor) -> Tensor:
        """A live activation with the sender's entries from the new run."""
        new = self.new[sender.hook, sender.layer]
        return replaced(self.hooked, sender, self.masks[id(sender)], value, new)


def change_by_skip_connections(ends: Ends, receiver: Node) -> Tensor:
    """What all senders before the receiver write differently: heads or neurons of one layer together."""
    values: dict[Place, Tensor] = {}
    for sender in ends.before(receiver):
        place = sender.hook, sender.layer
        values[place] = ends.replaced(sender, values.get(place, ends.orig[place]))
    total = torch.zeros_like(ends.orig[input_of(ends.hooked, receiver)])
    for (hook, layer), value in values.items():
        before = ends.orig[hook, layer]
        if hook in ("z", "post"):
            assert layer is not None
            before, value = (write(ends.hooked, hook, layer, one) for one in (before, value))
        total = total + value - before
    return total


def change_through_mlps(ends: Ends, receiver: Node) -> Tensor:
    """What the receiver reads differently while every head is frozen to orig but the senders, and MLPs are live."""
    hooked, senders = ends.hooked, ends.before(receiver)
    changes: list[Patch] = []
    for layer in range(hooked.n_layers):
        frozen = ends.orig["z", layer]
        for sender in senders:
            if (sender.hook, sender.layer) == ("z", layer):
                frozen = ends.replaced(sender, frozen)
        changes.append((place_of(hooked, "z", layer), lambda value, frozen=frozen: frozen))  # type: ignore[misc]
    for sender in senders:
        if sender.hook != "z":
            changes += setting(
                hooked, sender.hook, sender.layer, lambda value, sender=sender: ends.replaced(sender, value)  # type: ignore[misc, arg-type]
            )  # fmt: skip
    place = input_of(hooked, receiver)
    return activations(hooked, ends.orig_tokens, [place], changes)[place] - ends.orig[place]


# ---- receivers --------------------------------------------------------------------------------------------------


def input_of(hooked: Hooked, receiver: Node) -> Place:
    """The point of the stream that a receiver reads."""
    if receiver.hook == "resid_post":
        return "resid_post", receiver.layer
    reads_mid = receiver.hook in ("pre", "mlp_in", "resid_mid") and not hooked.is_parallel
    return "resid_mid" if reads_mid else "resid_pre", receiver.layer


def elements(hooked: Hooked, receiver: Node) -> list[tuple[str, list[int] | None]]:
    """The projections that a receiver is made of, with their units; None: all.

    A pattern is its queries and keys; a key-value head is that of all query heads that read it.
    """
    if receiver.hook in ("pre", "mlp_in"):
        units = None if receiver.neuron is None else [receiver.neuron]
        return [(branch, units) for branch in (("gate",) if receiver.hook == "pre" else ("gate", "up"))]
    own = receiver.head if receiver.query_head is None else receiver.query_head
    units = None if own is None else [own]
    if receiver.hook in ("k", "v") and receiver.head is not None:
        units = list(range(receiver.head * hooked.group, (receiver.head + 1) * hooked.group))
    return [(hook, units) for hook in (("q", "k") if receiver.hook == "pattern" else (receiver.hook,))]


def reading(ends: Ends, receiver: Node, target: Callable[[Tensor], Tensor]) -> list[Patch]:
    """Changes that let a receiver, alone, read what the target makes of the stream."""
    hooked, layer, mask = ends.hooked, receiver.layer, ends.masks[id(receiver)]
    assert layer is not None
    live: dict[str, Tensor] = {}
    norm = hooked.part(layer, "ln2" if receiver.hook in ("pre", "mlp_in") else "ln1")
    changes = [(place_of(hooked, *input_of(hooked, receiver)), keeping(live, "input"))]
    for projection, units in elements(hooked, receiver):
        module, columns = hooked.part(layer, projection), hooked.columns(layer, projection)
        mine = (columns if units is None else columns[units]).flatten()

        def read(value: Tensor, module: nn.Module = module, mine: Tensor = mine) -> Tensor:
            again = module.forward(norm.forward(target(live["input"])))
            chosen = torch.zeros(value.shape[-1], dtype=torch.bool)
            chosen[mine] = True
            return torch.where(mask[:, :, None] & chosen, again, value)

        changes.append((Point(module), read))
    return changes


def receiving(ends: Ends, receiver: Node, change: Tensor, overwrites: bool) -> list[Patch]:
    """Changes of the last run."""
    place, mask = input_of(ends.hooked, receiver), ends.masks[id(receiver)][:, :, None]

    def target(live: Tensor) -> Tensor:
        return torch.where(mask, (ends.orig[place] if overwrites else live) + change, live)

    if receiver.hook.startswith("resid"):
        assert receiver.layer is not None
        return setting(ends.hooked, receiver.hook, receiver.layer, target)
    return reading(ends, receiver, target)


# ---- the experiment ---------------------------------------------------------------------------------------------


def patch(
    hooked: Hooked,
    orig_tokens: Tensor,
    new_tokens: Tensor,
    senders: Sequence[Node],
    receivers: Sequence[Node],
    masks: Masks,
    through_mlps: bool,
    overwrites: bool,
) -> Final:
    """The run on orig in which only the paths from senders to receivers come from new."""
    places: list[Place] = [(sender.hook, sender.layer) for sender in senders]
    inputs = [input_of(hooked, receiver) for receiver in receivers]
    heads: list[Place] = [("z", layer) for layer in range(hooked.n_layers)]
    orig = activations(hooked, orig_tokens, [*places, *inputs, *heads])
    ends = Ends(hooked, orig_tokens, senders, receivers, masks, orig, activations(hooked, new_tokens, places))
    change_of = change_through_mlps if through_mlps else change_by_skip_connections
    changes: list[Patch] = []
    # points of the stream first and in their order, so that what comes later reads what became of them
    for receiver in sorted(receivers, key=lambda node: (not node.hook.startswith("resid"), read_at(hooked, node))):
        changes += receiving(ends, receiver, change_of(ends, receiver), overwrites)
    return watched(hooked, orig_tokens, changes)


def watched(hooked: Hooked, tokens: Tensor, changes: Sequence[Patch] = ()) -> Final:
    """A run whose patterns are kept."""
    patterns: dict[int, Tensor] = {}
    with ExitStack() as stack:
        for layer in range(hooked.n_layers):
            stack.callback(_watch_pattern(hooked, layer, patterns).remove)
        logits = run(hooked, tokens, changes)
    return Final(logits, [patterns[layer] for layer in range(hooked.n_layers)])


def _watch_pattern(hooked: Hooked, layer: int, patterns: dict[int, Tensor]) -> Any:
    """Attention modules return what they add to the stream, and their pattern."""
    return hooked.part(layer, "attn").register_forward_hook(
        lambda module, args, output: patterns.__setitem__(layer, output[1])
    )
