"""Circuits by the oracle of hooks: a plain recursion on a model of transformers, one node and one edge at a time.

Each node runs in a whole forward pass on new of its own, in which it alone reads what it should. No code of the engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tests.hooked import write
from tests.hooked_parts import Hooked
from tests.hooked_runs import Patch, Place, Point, activations, place_of, run

Edges = set[tuple[str, str]]
"""Writer and reader of each, by EAP-IG's names."""


@dataclass
class CircuitRun:
    """One recursive run: ``input_v = new_v + sum over kept edges u -> v of (live_u - new_u)``."""

    hooked: Hooked
    edges: Edges
    new_tokens: Tensor
    new: Mapping[Place, Tensor]
    changes: dict[str, Tensor] = field(default_factory=dict)
    """What each writer writes, live minus new."""

    def input(self, reader: str, place: Place) -> Tensor:
        """What a reader reads."""
        found = self.new[place].clone()
        for writer, change in self.changes.items():
            if (writer, reader) in self.edges:
                found += change
        return found

    def head(self, layer: int, head: int) -> Tensor:
        """How what a head writes differs from new, when it reads each of its inputs from its own edges."""
        norm, changed = self.hooked.part(layer, "ln1"), []
        for part in "qkv":
            resid = self.input(f"a{layer}.h{head}<{part}>", ("resid_pre", layer))
            module, columns = self.hooked.part(layer, part), self.hooked.columns(layer, part)[head]

            def read(
                value: Tensor, resid: Tensor = resid, module: torch.nn.Module = module, columns: Tensor = columns
            ) -> Tensor:
                again = module.forward(norm.forward(resid))
                return value.index_copy(-1, columns, again[..., columns])

            changed.append((Point(module), read))
        live = activations(self.hooked, self.new_tokens, [("z", layer)], changed)["z", layer]
        return write(self.hooked, "z", layer, self._only(layer, head, live)) - write(
            self.hooked, "z", layer, self.new["z", layer]
        )

    def _only(self, layer: int, head: int, live: Tensor) -> Tensor:
        """New's heads, with this one's output in its place."""
        columns = self.hooked.columns(layer, "z")[head]
        return self.new["z", layer].index_copy(-1, columns, live[..., columns])

    def mlp(self, layer: int) -> Tensor:
        """How what an MLP writes differs from new."""
        mid = "resid_pre" if self.hooked.is_parallel else "resid_mid"
        resid = self.input(f"m{layer}", (mid, layer))
        norm = self.hooked.part(layer, "ln2")
        changed: list[Patch] = []
        for module in {self.hooked.part(layer, name) for name in ("gate", "up")}:
            changed.append((Point(module), lambda value, module=module: module.forward(norm.forward(resid))))  # type: ignore[misc]
        return (
            activations(self.hooked, self.new_tokens, [("mlp_out", layer)], changed)["mlp_out", layer]
            - self.new["mlp_out", layer]
        )

    def logits(self, orig_embed: Tensor) -> Tensor:
        """Of the last position of every prompt and before: [batch pos d_vocab]."""
        hooked = self.hooked
        self.changes["input"] = orig_embed - self.new["embed", None]
        for layer in range(hooked.n_layers):
            heads = {f"a{layer}.h{head}": self.head(layer, head) for head in range(hooked.n_heads)}
            if hooked.is_parallel:
                self.changes |= {f"m{layer}": self.mlp(layer)} | heads
            else:
                self.changes |= heads
                self.changes[f"m{layer}"] = self.mlp(layer)
        last = hooked.n_layers - 1
        resid = self.input("logits", ("resid_post", last))
        return run(hooked, self.new_tokens, [(place_of(hooked, "resid_post", last), lambda value: resid)])


def circuit_logits(hooked: Hooked, orig_tokens: Tensor, new_tokens: Tensor, names: set[str]) -> Tensor:
    """Logits of a circuit's run, of edges by their names."""
    layers = range(hooked.n_layers)
    hooks = ("resid_pre", "resid_post", "z", "mlp_out") + (() if hooked.is_parallel else ("resid_mid",))
    places: list[Place] = [(hook, layer) for hook in hooks for layer in layers]
    new = activations(hooked, new_tokens, [*places, ("embed", None)])
    orig = activations(hooked, orig_tokens, [("embed", None)])
    edges = {(writer, reader) for writer, _, reader in (name.partition("->") for name in names)}
    return CircuitRun(hooked, edges, new_tokens, new).logits(orig["embed", None])
