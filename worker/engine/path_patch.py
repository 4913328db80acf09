"""Path patching of one patch, step by step (Wang et al. 2022, arXiv:2211.00593, appendix B).

The paper's algorithm is ``through_mlps=True``; without it, changes take skip connections only.

Nothing is planned and nothing saved: this is the algorithm that ``sweep`` does for many cells at once.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from planning.graph import RECEIVER_PARTS, Graph, Site, layer_of
from worker.engine import model, transformer
from worker.engine.model import Weights

Point = tuple[str, int | None]
"""An activation: TransformerLens' short name and the layer; ``resid_pre`` of layer ``n_layers`` is the last stream."""
Run = dict[Point, Tensor]
Edit = Callable[[Point, Tensor, Run], Tensor]
"""Sees an activation and those before it, and gives the one to go on with."""


def path_patch(
    weights: Weights,
    orig_tokens: Int[Tensor, "batch pos"],
    new_tokens: Int[Tensor, "batch pos"],
    senders: Sequence[Site],
    receivers: Sequence[Site],
    positions: Bool[Tensor, "batch pos"] | None = None,
    through_mlps: bool = False,
    overwrite: bool | None = None,
) -> Run:
    """Run orig with only the edges from the senders to the receivers as they are in new.

    >>> final = path_patch(weights, orig, new, [Site("z", 9, head=9)], [Site("q", 10, head=7)])
    >>> final["pattern", 10][:, -1, 7]  # (batch, query, head, key): head 10.7's attention from the last position

    Args:
        positions: Where the edges are patched; everywhere by default.
        through_mlps: Whether the senders' changes pass the MLPs on their way (the paper's algorithm), or none of them.
        overwrite: Whether a receiver's input becomes orig plus its change, or the change is added to the live input,
            which earlier receivers may have changed. By default as ``through_mlps``.

    Returns:
        Every activation of the final run: ``logits`` (batch, pos, d_vocab) under ``("logits", None)``, in nats.
    """
    here = torch.ones_like(orig_tokens, dtype=torch.bool) if positions is None else positions
    overwrite = through_mlps if overwrite is None else overwrite
    # 1. The two clean runs.
    orig, new = forward(weights, orig_tokens), forward(weights, new_tokens)
    return patch_between(weights, orig_tokens, orig, new, senders, receivers, here, through_mlps, overwrite)


def patch_between(
    weights: Weights,
    orig_tokens: Int[Tensor, "batch pos"],
    orig: Run,
    new: Run,
    senders: Sequence[Site],
    receivers: Sequence[Site],
    here: Bool[Tensor, "batch pos"],
    through_mlps: bool,
    overwrite: bool,
) -> Run:
    """``path_patch`` once both clean runs are known."""
    graph = Graph(weights.architecture)
    # 2. What the senders that come before it change in each receiver's residual-stream input.
    changes = []
    for receiver in receivers:
        # strictly before: a sender at the very point that a receiver reads is not on a path to it
        earlier = [sender for sender in senders if graph.reaches(sender, [receiver])]
        if through_mlps:
            frozen = forward(weights, orig_tokens, freeze_heads_and_set(earlier, orig, new, here))
            changes.append(frozen[graph.input_of(receiver)] - orig[graph.input_of(receiver)])
        else:
            points = {_point(sender): [one for one in earlier if _point(one) == _point(sender)] for sender in earlier}
            writes = [written_change(weights, point, own, orig, new, here) for point, own in points.items()]
            changes.append(sum(writes, torch.zeros_like(orig["resid_pre", 0])))

    # 3. The final run on orig, in which each receiver, alone, reads its changed input.
    def let_receivers_read(point: Point, value: Tensor, run: Run) -> Tensor:
        for receiver, change in zip(receivers, changes, strict=True):
            if point in _points_read(receiver):
                live = run.get(graph.input_of(receiver), value)  # the stream itself is its own input
                changed = (orig[graph.input_of(receiver)] if overwrite else live) + change
                value = put(value, transformer.read(weights, *point, changed), receiver.unit, here)
        return value

    return forward(weights, orig_tokens, let_receivers_read)


def forward(weights: Weights, tokens: Int[Tensor, "batch pos"], edit: Edit = lambda point, value, run: value) -> Run:
    """One forward pass, every activation kept."""
    run: Run = {}

    def at(layer: int | None, hook: str, value: Tensor) -> Tensor:
        if hook in ("query_k", "query_v"):
            value = transformer.per_query_head(value, weights.architecture.n_heads)
        run[hook, layer] = edit((hook, layer), value, run)
        return run[hook, layer]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        pattern = at(layer, "pattern", transformer.attention_pattern(weights, layer, q, k).transpose(1, 2))
        return torch.einsum("bqhk,bkhd->bqhd", pattern, v)

    embed = weights.W_E[tokens]
    pos_embed = model.position_embeddings(weights, tokens.shape[1]).expand(*tokens.shape, -1)
    resid = at(None, "embed", embed) + at(None, "pos_embed", pos_embed)
    for layer in range(weights.architecture.n_layers):
        resid = at(layer, "resid_pre", resid)
        resid = transformer.block(weights, layer, resid, partial(attend, layer), partial(at, layer))
    resid = at(weights.architecture.n_layers, "resid_pre", resid)
    run["logits", None] = transformer.unembed(weights, transformer.norm(weights, "ln_final", None, resid))
    return run


def freeze_heads_and_set(senders: Sequence[Site], orig: Run, new: Run, here: Bool[Tensor, "batch pos"]) -> Edit:
    """Every head's ``z`` as in orig, senders as in new."""

    def edit(point: Point, value: Tensor, run: Run) -> Tensor:
        if point[0] == "z":
            value = orig[point]
        for sender in senders:
            if _point(sender) == point:
                value = put(value, new[point], sender.unit, here)
        return value

    return edit


def written_change(
    weights: Weights, point: Point, senders: Sequence[Site], orig: Run, new: Run, here: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_model"]:
    """What senders at one activation change together in what it writes to the residual stream."""
    hook, layer = point
    patched = orig[point]
    for sender in senders:
        patched = put(patched, new[point], sender.unit, here)
    if layer is None or hook not in ("z", "post"):
        return patched - orig[point]
    return transformer.output(weights, hook, layer, patched) - transformer.output(weights, hook, layer, orig[point])


def put(value: Tensor, new: Tensor, unit: int | None, here: Bool[Tensor, "batch pos"]) -> Tensor:
    """The new value of one head or neuron, or of all, where ``here`` is True."""
    if unit is not None:
        others, own = value.clone(), new[:, :, unit]
        others[:, :, unit] = own
        new = others
    return torch.where(here[(..., *[None] * (value.dim() - 2))], new, value)


def _point(site: Site) -> Point:
    return ("resid_pre", layer_of(site)) if site.hook == "resid_post" else (site.hook, site.layer)


def _points_read(receiver: Site) -> list[Point]:
    """The activations that read the receiver's input."""
    return [(part, receiver.layer) for part in RECEIVER_PARTS.get(receiver.hook, ())] or [_point(receiver)]
