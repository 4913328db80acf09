"""From a checkpoint's tensors, one after the other, to ``Weights``: each is copied into its place at once."""

from collections.abc import Iterable
from math import prod

import torch
from torch import Tensor

from checkpoints.families.record import Part
from planning.architecture import Architecture
from worker.engine.model import FUSED, Weights
from worker.models.sources import Source

Places = dict[str, Tensor]
"""Tensors of ``Weights`` by name, to be filled."""


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that the model's ``Weights`` have."""
    one = architecture
    layers, heads, groups, width = one.n_layers, one.n_heads, one.n_kv_heads, one.d_model
    shapes: dict[str, tuple[int, ...]] = {
        "W_E": (one.d_vocab, width),
        "W_Q": (layers, heads, width, one.d_head),
        "W_K": (layers, groups, width, one.d_head),
        "W_V": (layers, groups, width, one.d_head),
        "b_Q": (layers, heads, one.d_head),
        "b_K": (layers, groups, one.d_head),
        "b_V": (layers, groups, one.d_head),
        "W_O": (layers, heads, one.d_head, width),
        "b_O": (layers, width),
        "W_in": (layers, width, one.d_mlp),
        "b_in": (layers, one.d_mlp),
        "W_out": (layers, one.d_mlp, width),
        "b_out": (layers, width),
        **{f"{norm}_{part}": (layers, width) for norm in ("ln1", "ln2") for part in "wb"},
        "ln_final_w": (width,),
        "ln_final_b": (width,),
        "W_U": (width, one.d_vocab),
        "b_U": (one.d_vocab,),
    }
    if one.rotary is None:
        shapes["W_pos"] = (one.n_ctx, width)
    if one.is_gated:
        shapes |= {"W_gate": (layers, width, one.d_mlp), "b_gate": (layers, one.d_mlp)}
    if one.has_qk_norms:
        shapes |= {"q_norm_w": (layers, one.d_head), "k_norm_w": (layers, one.d_head)}
    if one.has_post_norms:
        shapes |= {"ln1_post_w": (layers, width), "ln2_post_w": (layers, width)}
    return shapes


def weight_bytes(architecture: Architecture, dtype: torch.dtype) -> int:
    """Memory of the model's weights while it runs: what is fused counts twice."""
    shapes = shapes_of(architecture).items()
    return dtype.itemsize * sum(prod(shape) * (2 if name in FUSED else 1) for name, shape in shapes)


def assemble(
    architecture: Architecture,
    parts: Iterable[Part],
    source: Source,
    dtype: torch.dtype,
    is_tied: bool,
    gain_offset: float = 0.0,
    embedding_scale: float = 1.0,
) -> Weights:
    """The weights as the checkpoint has them, unprocessed.

    Args:
        is_tied: Whether the embedding, unscaled, is the unembedding too.
        gain_offset: What is added to the gain of every norm.
        embedding_scale: By which embeddings are multiplied.
    """
    places = {
        name: (torch.zeros if name.startswith("b_") or name.endswith("_b") else torch.empty)(shape, dtype=dtype)
        for name, shape in shapes_of(architecture).items()
    }
    for part in parts:
        for first, rows in source.rows(part):
            _place(places, architecture, part.role, part.layer, first, rows)
            if part.role == "W_E" and is_tied:
                _place(places, architecture, "W_U", None, first, rows)
    if embedding_scale != 1:
        places["W_E"].mul_(embedding_scale)
    if gain_offset:
        for name in places:
            if name.endswith("_w"):
                places[name].add_(gain_offset)
    return Weights(architecture, **places)


def _place(places: Places, one: Architecture, role: str, layer: int | None, first: int, rows: Tensor) -> None:
    """Copy rows of a checkpoint's tensor to where they belong."""
    if layer is not None:
        for name, value in _of_layer(one, role, rows):
            places[name][layer].copy_(value)
        return
    match role:
        case "W_E":
            places["W_E"][first : first + len(rows)].copy_(rows)
        case "W_U":
            places["W_U"][:, first : first + len(rows)].copy_(rows.T)
        case "W_pos":
            places["W_pos"].copy_(rows[-one.n_ctx :])
        case _:
            places[role].copy_(rows)


def _of_layer(one: Architecture, role: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """What a tensor of one layer becomes: names of ``Weights``, and values as they are stored there."""
    heads = {"Q": one.n_heads, "K": one.n_kv_heads, "V": one.n_kv_heads}
    kind, _, name = role.partition("_")
    if kind not in ("W", "b"):
        return [(norm, value) for norm in role.split()]
    match name:
        case "QKV":
            parts = value.split([heads[part] * one.d_head for part in "QKV"])
            return [
                pair for part, rows in zip("QKV", parts, strict=True) for pair in _of_layer(one, f"{kind}_{part}", rows)
            ]
        case "QKV_by_head":
            by_head = value.view(one.n_heads, 3, one.d_head, *value.shape[1:]).unbind(1)
            found = zip("QKV", by_head, strict=True)
            return [(f"{kind}_{part}", rows.transpose(1, 2) if kind == "W" else rows) for part, rows in found]
        case "gate_in":
            return [("W_gate", value[: one.d_mlp].T), ("W_in", value[one.d_mlp :].T)]
        case "Q" | "K" | "V":
            rows = value.view(heads[name], one.d_head, *value.shape[1:])
            return [(role, rows.transpose(1, 2) if kind == "W" else rows)]
        case "O" if kind == "W":
            return [("W_O", value.view(one.d_model, one.n_heads, one.d_head).permute(1, 2, 0))]
        case _:
            return [(role, value.T if kind == "W" else value)]
