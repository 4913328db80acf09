"""Path patching along paths of several hops: a change takes the listed edges only.

``input_v = orig_v + sum over listed edges u -> v of (live_u - orig_u)``: a first node has its source value; a component
on the way runs on orig with what the edges into it change. After the last nodes the run goes on live, as after any
receiver.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from planning.graph import Site, is_in_attention, is_in_mlp
from planning.paths import PathsPlan, Reader, outputs_before
from planning.plan import CellGroup
from worker.engine import transformer
from worker.engine.receivers import Patch, PatchedLayer
from worker.engine.rows import Rows, row_map, rows_of
from worker.engine.run_layer import Sights, heads_change_within, named, named_heads, orig_state
from worker.engine.runs import Runs
from worker.engine.senders import Changes, Write, stream_changes, writes_of
from worker.engine.sweep import Batch, Found, changed_input, run_and_read

Written = tuple[list[int] | None, Float[Tensor, "batch cell row unit *rest"], Bool[Tensor, "batch cell row"]]
"""Heads or neurons (None for all), how what they compute differs from orig, and at which rows it may."""


def patch_hops(batch: Batch, plan: PathsPlan, cells: CellGroup, overwrite: bool) -> Iterator[Found]:
    """Carry the senders' changes hop by hop, then run on from the last nodes.

    Args:
        overwrite: The input of a path's last node becomes orig plus its change; else the change is added to it.
    """
    if plan.last is None:
        return
    rows, run_rows = rows_of(plan.rows, batch.runs.device), rows_of(plan.last.computed, batch.runs.device)
    to, size = row_map(rows, run_rows), batch.cells_at_once(rows)
    for start in range(0, len(cells.cells), size):
        part = cells.part(start, start + size)
        changes = _Hops(batch.runs, plan, part, rows).changes()
        patches: list[Patch] = []
        for index in plan.last_readers:
            moved = Changes(to.move(changes[index].value), to.move(changes[index].touched))
            reader = plan.hops.readers[index]
            mask = plan.places.of(reader.node.positions)
            patches.append(changed_input(reader.site, mask, moved, run_rows, overwrite))
        yield from run_and_read(batch, plan.last, [patches], run_rows, part.cells)


class _Hops:
    """Changes on their way, for some cells."""

    def __init__(self, runs: Runs, plan: PathsPlan, senders: CellGroup, rows: Rows) -> None:
        self.runs, self.plan, self.senders, self.rows = runs, plan, senders, rows
        self.patches: defaultdict[tuple[str, int], list[Patch]] = defaultdict(list)
        """What changes in the inputs of a layer's heads (``z``) and of its MLP (``post``)."""
        self.points: dict[Site, tuple[Tensor, Tensor]] = {}
        """Changes of points of the stream that are nodes themselves."""
        self._written: dict[tuple[str, int], Written] = {}

    def changes(self) -> list[Changes]:
        """The change of every input that edges lead into, in the order of a forward pass."""
        found = []
        for reader in self.plan.hops.readers:
            found.append(self._into(reader))
            if not reader.is_last:
                self._enter(reader, found[-1])
        return found

    def _into(self, reader: Reader) -> Changes:
        """What the listed edges carry into an input."""
        shape = (
            self.runs.n_examples,
            len(self.senders.cells),
            self.rows.n_rows,
            self.runs.weights.architecture.d_model,
        )
        change = torch.zeros(shape, dtype=self.runs.weights.dtype, device=self.runs.weights.device)
        touched = torch.zeros(shape[:3], dtype=torch.bool, device=change.device)
        writes, before = self._writes_into(reader), self.runs.graph.time_of(reader.site)
        for time in sorted(time for time in writes if time < before):
            for written in stream_changes(self.runs, writes[time], self.rows):
                change[:, written.at] += written.value
                touched[:, written.at] |= written.differs
        return Changes(change, touched)

    def _writes_into(self, reader: Reader) -> dict[int, list[Write]]:
        """By time: of first nodes, and of components on the way."""
        writes: dict[int, list[Write]] = defaultdict(list)
        if reader.firsts:
            slots = sorted(reader.firsts)
            sites = [[own[slot] for slot in slots] for own in self.senders.sites]
            masks = [self.senders.masks[slot] for slot in slots]
            writes |= writes_of(replace(self.senders, sites=sites, masks=masks))
        by_layer: dict[tuple[str, int], list[Site]] = defaultdict(list)
        for site in outputs_before(reader, self.plan.hops, self.runs.weights.architecture):
            if site.hook in ("z", "post"):
                assert site.layer is not None
                by_layer[site.hook, site.layer].append(site)
            else:
                writes[self.runs.graph.time_of(site)].append(self._write(site, self.points[site]))
        for (hook, layer), own in by_layer.items():
            time = self.runs.graph.time_of(Site(hook, layer))
            writes[time].append(self._write(Site(hook, layer), self._output(hook, layer, own)))
        return writes

    def _write(self, site: Site, live: tuple[Tensor, Tensor]) -> Write:
        cells = list(range(len(self.senders.cells)))
        return Write(site.hook, site.layer, cells, None, self.rows.mask, live)

    def _enter(self, reader: Reader, change: Changes) -> None:
        """Let a component on the way read its changed input."""
        site, mask = reader.site, self.plan.places.of(reader.node.positions)
        patch = changed_input(site, mask, change, self.rows, overwrite=False)
        if is_in_attention(site.hook) or is_in_mlp(site.hook):
            assert site.layer is not None
            self.patches["z" if is_in_attention(site.hook) else "post", site.layer].append(patch)
        else:
            self.points[site] = (patch.change.value, patch.change.touched)

    def _output(self, hook: str, layer: int, sites: list[Site]) -> tuple[Tensor, Tensor]:
        """What some heads or neurons write differently, before a norm after their layer."""
        if (hook, layer) not in self._written:
            self._written[hook, layer] = self._heads(layer) if hook == "z" else self._neurons(layer)
        units, change, touched = self._written[hook, layer]
        wanted = None if any(site.unit is None for site in sites) else sorted(site.unit or 0 for site in sites)
        matrix = self.runs.weights.W_O[layer] if hook == "z" else self.runs.weights.W_out[layer][:, None]
        if wanted is not None and wanted != units:
            change = change[:, :, :, wanted if units is None else [units.index(unit) for unit in wanted]]
        if wanted is not None:
            matrix = matrix[wanted]
        written = change.flatten(3) @ matrix.flatten(end_dim=1)
        return torch.where(touched[..., None], written, torch.zeros_like(written)), touched

    def _patched(self, hook: str, layer: int, units: list[int] | None) -> PatchedLayer:
        """The layer on orig's stream, with its changed inputs."""
        state = orig_state(self.runs, self.rows, len(self.senders.cells))
        stream, patches = state.stream(self.runs, layer), self.patches[hook, layer]
        heads, neurons = (units, None) if hook == "z" else (None, units)
        return PatchedLayer(self.runs, layer, patches, self.rows, state.touched, stream, heads, neurons)

    def _heads(self, layer: int) -> Written:
        patches = self.patches["z", layer]
        hooks = {patch.site.hook for patch in patches}
        patched = self._patched("z", layer, named_heads(patches, hooks, self.runs.weights.architecture))
        stream = self.rows.take(self.runs.orig("resid_pre", layer))[:, None]
        heads, dz = heads_change_within(patched, stream, Sights(self.rows, self.rows))
        return heads, dz, patched.touched

    def _neurons(self, layer: int) -> Written:
        weights, patches = self.runs.weights, self.patches["post", layer]
        units = named(patches, {patch.site.hook for patch in patches}, weights.architecture.d_mlp)
        patched = self._patched("post", layer, units)
        point = self.runs.graph.input_of(Site("pre", layer))
        stream = patched(point[0], self.rows.take(self.runs.orig(*point))[:, None])
        post = transformer.neurons(weights, layer, stream, patched, units)
        return units, post - transformer.neurons(weights, layer, stream, units=units), patched.touched
