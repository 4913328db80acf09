"""The final run: orig's forward pass with receivers changed (or activations set), on the rows that can change.

One loop over layers. It yields the stream of all cells where a layer begins, and reads nothing: metrics are read by who
iterates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from planning.graph import layer_of
from worker.engine.receivers import Patch, PatchedLayer
from worker.engine.rows import Rows
from worker.engine.run_layer import Patches, Sights, State, changed_layer, entered_layer, orig_state
from worker.engine.runs import Runs


@dataclass(frozen=True, eq=False)
class Arrival:
    """The stream where a layer begins, or after the last layer."""

    layer: int
    state: State
    patches: Patches
    """Those that may still act in this layer."""
    receiver_cells: slice
    """Which cells of ``patches_by_cell`` it is of; each has ``n_senders`` cells, one after the other."""


def final_run(
    runs: Runs, patches_by_cell: Sequence[Patches], rows: Rows, n_senders: int, last_layer: int, logit_rows: Rows | None
) -> Iterator[Arrival]:
    """Run many cells: each enters its first layer alone, where only it is recomputed; then all go on together.

    Args:
        patches_by_cell: Alike but for head or neuron.
        n_senders: Each cell stands for so many, with as many changes in its patches.
        last_layer: The run goes up to where this layer begins; ``n_layers`` runs all.
        logit_rows: Rows at which the last stream is read: the last layer computes only these.
    """
    layers = _Layers(runs, rows, logit_rows)
    first = min(layer_of(patch.site) for patch in patches_by_cell[0])
    assert len(patches_by_cell) == 1 or len({layer_of(patch.site) for patch in patches_by_cell[0]}) == 1
    entered: list[State] = []
    for cell, patches in enumerate(patches_by_cell):
        state = layers.enter(orig_state(runs, rows, n_senders), first, patches)
        if first < runs.weights.architecture.n_layers:
            yield Arrival(first, state, patches, slice(cell, cell + 1))
        entered.append(layers.run(state, first, patches) if first < last_layer else state)
    if last_layer <= first and last_layer < runs.weights.architecture.n_layers:
        return  # every metric has been read where its cell entered
    state = entered[0] if len(entered) == 1 else _side_by_side(entered)
    later = patches_by_cell[0] if len(patches_by_cell) == 1 else []
    everyone = slice(0, len(patches_by_cell))
    for layer in range(first + 1, last_layer + 1):
        state = layers.enter(state, layer, later)
        yield Arrival(layer, state, later, everyone)
        if layer < last_layer:
            state = layers.run(state, layer, later)
    if first == last_layer:  # the last stream itself was patched
        yield Arrival(last_layer, layers.narrowed(state), [], everyone)


def _side_by_side(states: list[State]) -> State:
    """One state of all cells, receiver by receiver."""
    resid = torch.cat([state.resid for state in states if state.resid is not None], dim=1)
    return State(resid, torch.cat([state.touched for state in states], dim=1), states[0].rows)


class _Layers:
    """The layers of a final run, on rows that narrow in the last one to those that are read."""

    def __init__(self, runs: Runs, rows: Rows, logit_rows: Rows | None) -> None:
        self.runs = runs
        self._everywhere = Sights(rows, rows)
        self._at_end = self._everywhere if logit_rows is None else Sights(logit_rows, rows)

    def narrowed(self, state: State) -> State:
        """The state at the rows that are read."""
        return state if self._at_end.to is None else state.moved(self._at_end.to, self._at_end.queries)

    def enter(self, state: State, layer: int, patches: Patches) -> State:
        """Patch the residual stream where a layer begins, in the order of a forward pass: embeddings first."""
        mine = [patch for patch in patches if layer_of(patch.site) == layer and _acts_on_stream(patch)]
        if not mine:
            return state
        if self._at_end.to is not None and state.rows is self._at_end.queries:
            mine = [patch.moved(self._at_end.to) for patch in mine]
        resid = state.stream(self.runs, layer)
        patched = PatchedLayer(self.runs, layer, mine, state.rows, state.touched, resid)
        for hook in ("embed", "pos_embed"):
            if any(patch.acts_at(hook) for patch in mine):
                orig = state.rows.take(self.runs.orig(hook, None))[:, None]
                resid = resid + (patched(hook, orig) - orig)
        resid = patched("resid_pre", resid)
        return State(resid.expand(-1, state.n_cells, -1, -1), patched.touched, state.rows)

    def run(self, state: State, layer: int, patches: Patches) -> State:
        """One layer, from the residual stream at its beginning to the one at its end."""
        is_last = layer == self.runs.weights.architecture.n_layers - 1
        sights = self._at_end if is_last else self._everywhere
        inside = [patch for patch in patches if layer_of(patch.site) == layer and not _acts_on_stream(patch)]
        run = entered_layer if state.resid is None else changed_layer
        return run(self.runs, state, layer, inside, sights)


def _acts_on_stream(patch: Patch) -> bool:
    return any(patch.acts_at(hook) for hook in ("embed", "pos_embed", "resid_pre"))
