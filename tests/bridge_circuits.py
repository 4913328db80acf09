"""Circuits on TransformerLens, by plain hooks: one node at a time, each in forward passes of its own on new.

A pass sets the stream that one reader reads and keeps that reader's value. No code of the engine.
"""

from collections.abc import Iterable

from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from tests.reference_runs import HookFn, Hooks, Values, activations, run

_HOOKS = [*(f"attn.hook_{part}" for part in "qkvz"), "hook_mlp_out"]
_HOOKS += [f"hook_resid_{point}" for point in ("pre", "mid", "post")]


def setting(value: Tensor) -> HookFn:
    """A hook that puts a value in place of what is there."""
    return lambda there, hook: value


class BridgeCircuit:
    """One circuit's run: ``input_v = new_v + sum over kept edges u -> v of (live_u - new_u)``."""

    def __init__(self, model: TransformerBridge, orig: Tensor, new: Tensor, edges: Iterable[str]) -> None:
        """
        Args:
            edges: Names of kept edges, ``writer->reader``, as EAP-IG writes them.
        """
        self.model, self.tokens = model, new
        self.edges = {tuple(edge.split("->")) for edge in edges}
        names = ["hook_embed", *(f"blocks.{layer}.{hook}" for layer in range(model.cfg.n_layers) for hook in _HOOKS)]
        self.new: Values = activations(model, new, names)
        embedded = activations(model, orig, ["hook_embed"])["hook_embed"]
        self.changes = {"input": embedded - self.new["hook_embed"]}
        """By writer: live minus new."""

    def logits(self) -> Tensor:
        """Of all positions: [batch pos d_vocab]."""
        for layer in range(self.model.cfg.n_layers):
            heads = {f"a{layer}.h{head}": self._head(layer, head) for head in range(self.model.cfg.n_heads)}
            self.changes |= heads
            self.changes[f"m{layer}"] = self._mlp(layer)
        end = f"blocks.{self.model.cfg.n_layers - 1}.hook_resid_post"
        return run(self.model, self.tokens, [(end, setting(self._read("logits", end)))]).logits

    def _read(self, reader: str, point: str) -> Tensor:
        kept = (change for writer, change in self.changes.items() if (writer, reader) in self.edges)
        return sum(kept, self.new[point].clone())

    def _head(self, layer: int, head: int) -> Tensor:
        """How what a head writes differs from new, when each of its inputs is put together from its own edges."""
        block, hooks = f"blocks.{layer}", Hooks()
        for part in "qkv":
            resid = self._read(f"a{layer}.h{head}<{part}>", f"{block}.hook_resid_pre")
            name = f"{block}.attn.hook_{part}"
            live = activations(self.model, self.tokens, [name], [(f"{block}.hook_resid_pre", setting(resid))])[name]
            value = self.new[name].clone()
            value[:, :, head] = live[:, :, head]
            hooks.append((name, setting(value)))
        name = f"{block}.attn.hook_z"
        change = activations(self.model, self.tokens, [name], hooks)[name] - self.new[name]
        written: Tensor = change[:, :, head] @ self.model.blocks[layer].attn.W_O[head]
        return written

    def _mlp(self, layer: int) -> Tensor:
        """Likewise; on the bridge ``hook_resid_mid`` is the branch into the MLP alone."""
        point, name = f"blocks.{layer}.hook_resid_mid", f"blocks.{layer}.hook_mlp_out"
        hooks: Hooks = [(point, setting(self._read(f"m{layer}", point)))]
        return activations(self.model, self.tokens, [name], hooks)[name] - self.new[name]
