"""What is patched into the final run: receivers that read a changed input, or activations set to their source value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from planning.graph import RECEIVER_PARTS, Site
from worker.engine import transformer
from worker.engine.rows import RowMap, Rows, chosen
from worker.engine.runs import Runs
from worker.engine.senders import Changes

ReadStream = Callable[[Tensor, list[int] | None], Tensor]
"""From rows of the residual stream, and the heads or neurons wanted, to an activation."""
Value = Shaped[Tensor, "batch any_cell row *rest"]
"""An activation of any kind: per head, per neuron, or of the stream."""
Spread = Callable[[Tensor], Tensor]
"""From a kept activation (batch, row, ...) to one of cells (batch, cell, row, ...)."""


def one_cell(value: Shaped[Tensor, "batch row *rest"]) -> Shaped[Tensor, "batch one row *rest"]:
    """The same in every cell."""
    return value[:, None]


@runtime_checkable
class Patch(Protocol):
    """What happens at one site, the same site in every cell."""

    @property
    def site(self) -> Site: ...

    @property
    def mask(self) -> Bool[Tensor, "batch row"]:
        """Rows at which the site is patched."""

    def acts_at(self, hook: str) -> bool:
        """Whether the patch changes this activation of its layer."""

    def moved(self, to: RowMap) -> "Patch":
        """The same at other rows."""

    def at(self, site: Site) -> "Patch":
        """The same at another site."""

    def value(
        self, layer: "PatchedLayer", hook: str, read: ReadStream, spread: Spread
    ) -> tuple[Value, Bool[Tensor, "batch touched_cell row"]]:
        """What the activation becomes at the patched rows, and the rows at which it may then differ from orig."""


@dataclass(frozen=True, eq=False)
class ChangedInput:
    """A receiver of a path patch: the residual stream that it reads changes."""

    site: Site
    mask: Bool[Tensor, "batch row"]
    change: Changes
    overwrite: bool
    """Whether orig plus the change takes the place of the live input; else the change is added to it."""

    def acts_at(self, hook: str) -> bool:
        """At what the receiver reads, or both where it stands for two activations."""
        return hook in RECEIVER_PARTS.get(self.site.hook, (self.site.hook,))

    def at(self, site: Site) -> "ChangedInput":
        """The same at another site."""
        return replace(self, site=site)

    def moved(self, to: RowMap) -> "ChangedInput":
        """The same at other rows."""
        change = Changes(to.move(self.change.value), to.move(self.change.touched))
        return replace(self, mask=to.move(self.mask[:, None])[:, 0], change=change)

    def value(
        self, layer: "PatchedLayer", hook: str, read: ReadStream, spread: Spread
    ) -> tuple[Value, Bool[Tensor, "batch touched_cell row"]]:
        """Read again from the changed input."""
        point, at_layer = layer.runs.graph.input_of(self.site)
        live = layer.streams[point]
        changed = (layer.orig(point, at_layer) if self.overwrite else live) + self.change.value
        if self.overwrite:
            changed = torch.where(self.mask[:, None, :, None], changed, live)
        return read(changed, layer.units_of(self.site)), self.change.touched


@dataclass(frozen=True, eq=False)
class SetValue:
    """A node of an activation patch: it is set to its source value."""

    site: Site
    mask: Bool[Tensor, "batch row"]

    def acts_at(self, hook: str) -> bool:
        """At its own activation only."""
        return hook == self.site.hook

    def at(self, site: Site) -> "SetValue":
        """The same at another site."""
        return replace(self, site=site)

    def moved(self, to: RowMap) -> "SetValue":
        """The same at other rows."""
        return replace(self, mask=to.move(self.mask[:, None])[:, 0])

    def value(
        self, layer: "PatchedLayer", hook: str, read: ReadStream, spread: Spread
    ) -> tuple[Value, Bool[Tensor, "batch touched_cell row"]]:
        """The source value."""
        source, orig = layer.source_and_orig(hook, self.site)
        differs = (source != orig).flatten(2).any(dim=-1)[:, None] & self.mask[:, None]
        return spread(source), differs


_ATTENTION_INPUTS = ("q", "k", "v", "query_k", "query_v")


class PatchedLayer:
    """One layer of the final run: patches its activations as the block computes them, and follows what they touch.

    Touched rows are only noted here: who reads a metric puts orig's value back where none of its rows was touched.
    """

    def __init__(
        self,
        runs: Runs,
        layer: int,
        patches: Sequence[Patch],
        rows: Rows,
        touched: Bool[Tensor, "batch cell row"],
        stream: Float[Tensor, "batch any_cell row d_model"],
        heads: list[int] | None = None,
        neurons: list[int] | None = None,
    ) -> None:
        """
        Args:
            patches: Those of this layer, in the order of a forward pass.
            touched: Rows that a change has reached before.
            stream: The residual stream entering the layer; one cell wide while it equals orig.
            heads: The query heads that are computed, with all key-value heads that they read; all by default.
            neurons: Likewise.
        """
        self.runs, self.layer, self.patches, self.rows = runs, layer, patches, rows
        self.touched = touched
        self._touched_by_hook: dict[str, Tensor] = {}
        self.streams = {"resid_pre": stream}
        """The live stream at the points that the layer's activations read."""
        size = runs.weights.architecture.group_size
        self._units = {
            **dict.fromkeys(("q", "query_k", "query_v", "pattern", "z"), heads),
            **dict.fromkeys(("k", "v"), None if heads is None else sorted({head // size for head in heads})),
            **dict.fromkeys(("pre", "pre_linear", "mlp_in", "post"), neurons),
        }

    @property
    def n_cells(self) -> int:
        """Cells that run together."""
        return self.touched.shape[1]

    def __call__(self, hook: str, live: Value) -> Shaped[Tensor, "batch cell row *patched_rest"]:
        """The activation with the layer's patches, as ``transformer.block`` asks for it."""
        if hook in ("resid_pre", "resid_mid"):
            self.streams[hook] = live
        if hook in ("query_k", "query_v"):
            live = self._per_query_head(hook, live)
        value = self.patched(hook, live, partial(transformer.read, self.runs.weights, hook, self.layer))
        if hook in self.streams:
            self.streams[hook] = value
        return value

    def _per_query_head(
        self, hook: str, live: Float[Tensor, "batch any_cell row any_heads d_head"]
    ) -> Float[Tensor, "batch any_cell row heads d_head"]:
        """Keys or values as the computed query heads read them, if not all are computed or a patch tells them apart."""
        heads, groups = self._units["q"], self._units["k"]
        if heads is not None and groups is not None:
            slots = [groups.index(head // self.runs.weights.architecture.group_size) for head in heads]
            return live[:, :, :, chosen(slots, live.device)]
        if any(patch.acts_at(hook) for patch in self.patches):
            return transformer.per_query_head(live, self.runs.weights.architecture.n_heads)
        return live

    def read_by_heads(
        self, values: Float[Tensor, "batch pos n_kv_heads d_head"]
    ) -> Float[Tensor, "batch pos any_heads d_head"]:
        """Cached keys or values that the computed query heads read."""
        heads, size = self._units["q"], self.runs.weights.architecture.group_size
        return values if heads is None else values[:, :, chosen([head // size for head in heads], values.device)]

    def orig(self, hook: str, layer: int | None = None) -> Shaped[Tensor, "batch one row *rest"]:
        """Orig's activation of this layer, or of another, at the rows."""
        return self.rows.take(self.runs.orig(hook, self.layer if layer is None else layer))[:, None]

    def patched(
        self, hook: str, live: Value, read: ReadStream, spread: Spread = one_cell
    ) -> Shaped[Tensor, "batch cell row *rest"]:
        """``live`` with the patches that act at ``hook``.

        Args:
            read: What a receiver there makes of its changed input.
            spread: What an activation's source value becomes there.
        """
        touched = self.touched_at(hook)
        for patch in self.patches:
            if patch.acts_at(hook):
                new, differs = patch.value(self, hook, read, spread)
                here = patch.mask[(slice(None), None, slice(None), *[None] * (live.dim() - 3))]
                computed, unit = self._units.get(hook), patch.site.unit
                if unit is None or computed == [unit]:
                    live = torch.where(here, new, live)
                else:
                    slots = chosen([unit if computed is None else computed.index(unit)], live.device)
                    live = _put(live, slots, torch.where(here, new, live[:, :, :, slots]))
                touched = touched | differs
        if hook in _ATTENTION_INPUTS:
            self._touched_by_hook[hook.removeprefix("query_")] = touched
        else:
            self.touched = touched
        return live

    def touched_at(self, hook: str) -> Bool[Tensor, "batch cell row"]:
        """Rows at which queries, keys or values may differ from orig."""
        return self._touched_by_hook.get(hook.removeprefix("query_"), self.touched)

    def units_of(self, site: Site) -> list[int] | None:
        """The heads or neurons that a patch of this site is asked for: its own one, or all that are computed."""
        return self._units.get(site.hook) if site.unit is None else [site.unit]

    def narrow(self, to: RowMap, rows: Rows) -> None:
        """Go on with other rows: those that are needed after the attention."""
        if not to.same:
            self.patches = [patch.moved(to) for patch in self.patches]
            self.touched = to.move(self.touched)
            self.streams = {point: to.move(stream) for point, stream in self.streams.items()}
        self.rows = rows

    def source_and_orig(self, hook: str, site: Site) -> tuple[Tensor, Tensor]:
        """An activation's source value and orig's, of the site's own head or neuron or of all that are computed."""
        layer = None if site.layer is None else self.layer
        units, found = self.units_of(site), []
        for values in (self.runs.source_value(hook, layer), self.runs.orig(hook, layer)):
            at_rows = self.rows.take(values)
            found.append(at_rows if units is None else at_rows[:, :, chosen(units, at_rows.device)])
        return found[0], found[1]


def _put(
    values: Shaped[Tensor, "batch any_cell row unit *rest"],
    slots: slice | Int[Tensor, " own"],
    new: Shaped[Tensor, "batch new_cell row own *rest"],
) -> Shaped[Tensor, "batch cell row unit *rest"]:
    """A copy of values per head or neuron with some of them replaced."""
    n_cells = max(values.shape[1], new.shape[1])
    copied = values.expand(-1, n_cells, *values.shape[2:]).clone(memory_format=torch.contiguous_format)
    copied[:, :, :, slots] = new
    return copied
