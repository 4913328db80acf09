"""First-order estimates of every edge's score: a gradient at each reader's input, dotted with each writer's change.

``score = sum over positions of (source_u - orig_u) . dm/dI_v``: what the metric changes by when the edge alone is
patched, so that an edge that helps is negative. EAP takes the gradient at orig (Syed et al. 2023, arXiv:2310.10348);
EAP-IG ("inputs") its mean over runs whose token embeddings lie between the source's and orig's (Hanna et al. 2024,
arXiv:2403.17806).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planning.circuit import CircuitGraph
from worker.engine import model, transformer
from worker.engine.edge_run import heads_writes
from worker.engine.metrics import LogitReads
from worker.engine.model import Weights
from worker.engine.rows import on_device
from worker.engine.runs import Runs


@dataclass(frozen=True, eq=False)
class Backward:
    """Of one run, what the gradient at every reader's input is made of."""

    streams: list[Float[Tensor, "batch pos d_model"]]
    """That each layer begins with."""
    heads: list[tuple[Tensor, Tensor, Tensor]]
    """Gradients at each layer's queries, keys and values, of every query head."""
    mlps: list[Float[Tensor, "batch pos d_model"]]
    """At what each layer's MLP reads."""
    last: Float[Tensor, "batch pos d_model"]
    """At the last residual stream."""


def edge_estimates(runs: Runs, logits: LogitReads, steps: int = 0) -> Float[Tensor, "batch edge"]:
    """Every edge's score by example.

    Args:
        steps: 0 takes the gradient at orig; m takes the mean over ``source + k/m (orig - source)``, k from 0 to m - 1.
    """
    orig, source = runs.orig("embed", None), runs.source_value("embed", None)
    embeddings = [source + (orig - source) * (step / steps) for step in range(steps)] if steps else [orig]
    positions = runs.orig("pos_embed", None)
    passes = [backward(runs.weights, embedded + positions, logits) for embedded in embeddings]
    graph = CircuitGraph(runs.weights.architecture)
    writers, readers = (on_device(ends, orig.device) for ends in graph.ends)
    return _products(graph, runs, passes)[:, readers, writers]


def _products(graph: CircuitGraph, runs: Runs, passes: list[Backward]) -> Float[Tensor, "batch reader writer"]:
    """Each layer's mean gradients times the changes of all writers before it; 0 for those after."""
    changes = writer_changes(runs).flatten(2).transpose(1, 2)
    found = changes.new_zeros(len(changes), len(graph.readers), changes.shape[2])
    first = 0
    for layer in range(graph.architecture.n_layers + 1):
        gradient = reader_gradients(runs.weights, layer, passes[0])
        for one in passes[1:]:
            gradient += reader_gradients(runs.weights, layer, one)
        last = first + gradient.shape[1]
        before = graph.writers_before(last - 1)
        found[:, first:last, :before] = gradient.flatten(2) @ changes[:, :, :before] / len(passes)
        first = last
    return found


def writer_changes(runs: Runs) -> Float[Tensor, "batch writer pos d_model"]:
    """Source minus orig of what every writer writes."""
    weights = runs.weights
    changes = [(runs.source_value("embed", None) - runs.orig("embed", None))[:, None]]
    for layer in range(weights.architecture.n_layers):
        source, orig = (heads_writes(weights, layer, z("z", layer)) for z in (runs.source_value, runs.orig))
        changes.append((source - orig).transpose(1, 2))
        changes.append((runs.source_value("mlp_out", layer) - runs.orig("mlp_out", layer))[:, None])
    return torch.cat(changes, dim=1)


def backward(weights: Weights, resid: Float[Tensor, "batch pos d_model"], logits: LogitReads) -> Backward:
    """The metric's gradients in a run that begins with this stream."""
    n_layers = weights.architecture.n_layers
    with torch.enable_grad():
        heads, mlps = [], []
        streams = [resid.detach().requires_grad_()]
        for layer in range(n_layers):
            inputs, mlp_in, after = _traced_layer(weights, layer, streams[-1])
            heads.append(inputs)
            mlps.append(mlp_in)
            streams.append(after)
        at_rows = logits.rows.take(streams[-1])[:, None]
        total = torch.stack([value.sum() for value in logits.values(weights, at_rows).values()]).sum()
        found = torch.autograd.grad(total, [*(part for inputs in heads for part in inputs), *mlps, streams[-1]])
    q, k, v = (found[part : 3 * n_layers : 3] for part in range(3))
    of_mlps = list(found[3 * n_layers : -1])
    return Backward([stream.detach() for stream in streams[:-1]], list(zip(q, k, v, strict=True)), of_mlps, found[-1])


def reader_gradients(weights: Weights, layer: int, found: Backward) -> Float[Tensor, "batch own_reader pos d_model"]:
    """The gradient at the input of each of a layer's readers; behind the last layer, of the logits."""
    if layer == weights.architecture.n_layers:
        return found.last[:, None]
    of_heads = _through_reading(weights, layer, found.streams[layer], found.heads[layer])
    return torch.cat([of_heads, found.mlps[layer][:, None]], dim=1)


def _traced_layer(
    weights: Weights, layer: int, resid: Float[Tensor, "batch pos d_model"]
) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
    """Queries, keys and values of every query head; what the MLP alone reads; the stream after the layer."""
    q, *shared = model.queries_keys_values(weights, layer, transformer.norm(weights, "ln1", layer, resid))
    k, v = (transformer.per_query_head(part, weights.architecture.n_heads) for part in shared)
    attn_out = transformer.output(weights, "z", layer, transformer.attend_prompts(weights, layer, q, k, v))
    read = resid if weights.architecture.is_parallel else resid + attn_out
    mlp_in = read.view_as(read)
    return (q, k, v), mlp_in, resid + attn_out + transformer.mlp(weights, layer, mlp_in)


def _through_reading(
    weights: Weights, layer: int, resid: Float[Tensor, "batch pos d_model"], gradients: tuple[Tensor, ...]
) -> Float[Tensor, "batch reader pos d_model"]:
    """Gradients at queries, keys and values as gradients at the inputs that each head reads them from."""
    parts = []
    for weight, gradient in zip((weights.W_Q, weights.W_K, weights.W_V), gradients, strict=True):
        own = weight[layer].repeat_interleave(weights.architecture.n_heads // len(weight[layer]), dim=0)
        parts.append(torch.einsum("bphk,hdk->bhpd", gradient, own))
    at_normed = torch.stack(parts, dim=2).flatten(1, 2)  # each head's q, k, v in turn
    with torch.enable_grad():
        inputs = resid[:, None].expand_as(at_normed).clone().requires_grad_()
        normed = transformer.norm(weights, "ln1", layer, inputs)
        (found,) = torch.autograd.grad(normed, inputs, at_normed)
    return found
