"""The final run: orig's forward pass with receivers changed (or activations set), on the rows that can change."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from api_schemas.nodes import EMBEDDING_HOOKS, Node
from worker.engine import forward
from worker.engine.patched_attention import attention_step
from worker.engine.patched_state import (
    Replacement,
    Sights,
    State,
    live_or_orig,
    replace_residual,
    replace_written,
    set_value,
)
from worker.engine.plan import layer_of
from worker.engine.positions import RowMap
from worker.engine.runs import Runs
from worker.engine.weights import GPT2Weights


def enter_layer(runs: Runs, state: State, layer: int, patches: Sequence[Replacement]) -> State:
    """Patch the residual stream where a layer begins, in the order of a forward pass: embeddings first."""
    for patch in sorted(patches, key=lambda patch: patch.node.time):
        if patch.node.hook in EMBEDDING_HOOKS and layer == 0:
            live = live_or_orig(runs, state, "resid_pre", 0)
            orig = state.rows.take(runs.orig(patch.node.hook, None))[:, None]
            value, differs = set_value(runs, patch, (patch.node.hook, None), state.rows, orig)
            resid = (live + (value - orig)).expand(-1, state.n_cells, -1, -1)
            state = State(resid, state.touched | differs, state.rows)
        elif patch.node.hook in ("resid_pre", "resid_post") and layer_of(patch.node) == layer:
            state = replace_residual(runs, state, "resid_pre", layer, [patch])
    return state


def run_layer(
    runs: Runs, state: State, layer: int, patches: Sequence[Replacement], sights: Sights, to: RowMap | None
) -> State:
    """One layer, from the residual stream at its beginning to the one at its end.

    Args:
        to: In the last layer, leads to the rows that the metric reads.
    """
    mine = [patch for patch in patches if layer_of(patch.node) == layer and patch.node.hook not in EMBEDDING_HOOKS]
    state = attention_step(runs, state, layer, mine, sights, to)
    if to is not None and not to.same:
        mine = [patch.moved(to) for patch in mine]
    at_mid = [patch for patch in mine if patch.node.hook == "resid_mid"]
    state = replace_residual(runs, state, "resid_mid", layer, at_mid)
    after = mlp_step(runs, state, layer, [patch for patch in mine if patch.node.hook in ("pre", "post")])
    at_output = [patch for patch in mine if patch.node.hook == "mlp_out"]
    return replace_written(runs, live_or_orig(runs, state, "resid_mid", layer), after, "mlp_out", layer, at_output)


def mlp_step(runs: Runs, state: State, layer: int, patches: Sequence[Replacement]) -> State:
    """From ``resid_mid`` to ``resid_post``; while the stream equals orig, only patched neurons are recomputed."""
    weights, entering = runs.weights, state.resid is None
    if entering and not patches:
        return state
    live = live_or_orig(runs, state, "resid_mid", layer)
    if not patches:
        return State(live + forward.mlp(weights, layer, live), state.touched, state.rows)
    orig = state.rows.take(runs.orig("resid_mid", layer))[:, None]
    neurons = _patched_neurons(patches) if entering else None
    pre, touched = neuron_inputs(weights, layer, neurons, live), state.touched
    for patch in (patch for patch in patches if patch.node.hook == "pre"):
        slots = _slots(patch.node, neurons)
        if patch.change is not None:
            own = None if patch.node.neuron is None else [patch.node.neuron]
            value = neuron_inputs(weights, layer, own, patch.input(live, orig))
            value = torch.where(patch.mask[:, None, :, None], value, pre[..., slots])
            differs = patch.change.touched
        else:
            value, differs = _neuron_value(runs, patch, "pre", state, pre[..., slots])
        pre, touched = _put_neurons(pre, slots, value), touched | differs
    post = forward.activation(pre)
    for patch in (patch for patch in patches if patch.node.hook == "post"):
        slots = _slots(patch.node, neurons)
        value, differs = _neuron_value(runs, patch, "post", state, post[..., slots])
        post, touched = _put_neurons(post, slots, value), touched | differs
    if neurons is None:
        resid = live + forward.neurons_output(weights, layer, post)
    else:
        change = post - forward.activation(neuron_inputs(weights, layer, neurons, orig))
        resid = state.rows.take(runs.orig("resid_pre", layer + 1))[:, None] + change @ weights.W_out[layer, neurons]
    return State(resid.expand(-1, state.n_cells, -1, -1), touched, state.rows)


def _patched_neurons(patches: Sequence[Replacement]) -> list[int] | None:
    """Neurons that the patches name; None where one names none in particular."""
    named = {patch.node.neuron for patch in patches}
    return None if None in named else sorted(neuron for neuron in named if neuron is not None)


def _slots(node: Node, neurons: list[int] | None) -> slice:
    """Where a node's neurons lie among the computed ones."""
    if node.neuron is None:
        return slice(None)
    place = node.neuron if neurons is None else neurons.index(node.neuron)
    return slice(place, place + 1)


def _neuron_value(
    runs: Runs, patch: Replacement, hook: str, state: State, live: Float[Tensor, "batch any_cell row neurons"]
) -> tuple[Tensor, Tensor]:
    """Neurons set to their source value at the patched positions, and where that differs from orig."""
    chosen = _slots(patch.node, None)
    source = state.rows.take(runs.source_value(hook, patch.node.layer))[..., chosen]
    orig = state.rows.take(runs.orig(hook, patch.node.layer))[..., chosen]
    differs = (source != orig).any(dim=-1)[:, None] & patch.mask[:, None]
    return torch.where(patch.mask[:, None, :, None], source[:, None], live), differs


def _put_neurons(values: Tensor, slots: slice, new: Tensor) -> Tensor:
    n_cells = max(values.shape[1], new.shape[1])
    copied = values.expand(-1, n_cells, -1, -1).clone()
    copied[..., slots] = new
    return copied


def neuron_inputs(
    weights: GPT2Weights, layer: int, neurons: list[int] | None, resid_mid: Float[Tensor, "*rows d_model"]
) -> Float[Tensor, "*rows neurons"]:
    """``pre`` of some neurons, or of all."""
    if neurons is None:
        return forward.mlp_pre(weights, layer, resid_mid)
    normed = forward.layer_norm(resid_mid, weights.ln2_w[layer], weights.ln2_b[layer], weights.eps)
    return normed @ weights.W_in[layer][:, neurons] + weights.b_in[layer][neurons]
