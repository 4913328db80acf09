"""Weights of every family but GPT-2: read straight into their places and processed there, without TransformerLens."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from api_schemas.spec import ModelSpec
from checkpoints.folder import Configuration
from worker.engine import model, transformer
from worker.engine.model import Weights
from worker.models.assembly import assemble
from worker.models.folding import applied_flags, fold
from worker.models.sources import Source

UNEMBEDDED_AT_ONCE = 4096
WHOLE = frozenset({"W_E", "W_pos", "W_U", "b_U", "ln_final_w", "ln_final_b"})
"""Tensors that are not stacked over layers."""


def read_weights(
    found: Configuration, source: Source, flags: ModelSpec, dtype: torch.dtype, tokens: Int[Tensor, "batch pos"]
) -> tuple[Weights, Float[Tensor, "batch pos d_vocab"]]:
    """A checkpoint's weights, processed with the flags that apply, and the logits of the unprocessed ones."""
    family = found.family
    with torch.no_grad():
        weights = assemble(
            found.architecture,
            family.parts(found.config, found.architecture),
            source,
            dtype,
            family.is_tied(found.config),
            source.gain_offset(family),
            family.embedding_scale(found.architecture),
        )
        _, logits = layerwise_logits(weights, tokens)
        applied = applied_flags(flags, found.architecture)
        if applied["center_unembed"]:
            logits = logits - logits.mean(dim=-1, keepdim=True)
        return fold(weights, applied), logits


def layerwise_logits(
    weights: Weights, tokens: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch pos d_model"], Float[Tensor, "batch pos d_vocab"]]:
    """What enters the unembedding in an unpatched run, and the logits; float32 whatever the weights are stored in."""
    resid = layerwise_residual(weights, tokens)
    final = transformer.norm(_ends(weights, slice(0, 0)), "ln_final", None, resid)
    parts = [
        transformer.unembed(_ends(weights, slice(first, first + UNEMBEDDED_AT_ONCE)), final)
        for first in range(0, weights.architecture.d_vocab, UNEMBEDDED_AT_ONCE)
    ]
    return final, torch.cat(parts, dim=-1)


def _ends(weights: Weights, tokens: slice) -> Weights:
    """The weights with the last norm in float32, and so the unembedding, of these tokens alone."""
    ends = {
        "W_E": weights.W_E[tokens],
        "W_U": weights.W_U[:, tokens].float(),
        "b_U": weights.b_U[tokens].float(),
        "ln_final_w": weights.ln_final_w.float(),
        "ln_final_b": weights.ln_final_b.float(),
    }
    return Weights(weights.architecture, **weights.tensors() | ends)


def layerwise_residual(weights: Weights, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """What leaves the last block of an unpatched run, computed in float32.

    Layer by layer, so that what the engine derives from weights, such as ``QKV``, is there of one layer at a time.
    """
    resid = model.embed(weights, tokens).float()
    for layer in layers_of(weights):
        one = layer.to(dtype=torch.float32)

        def attend(q: Tensor, k: Tensor, v: Tensor, one: Weights = one) -> Tensor:
            return transformer.attend_prompts(one, 0, q, k, v)

        resid = transformer.block(one, 0, resid, attend)
    return resid


def layers_of(weights: Weights) -> Iterator[Weights]:
    """Each layer as a model of its own, without tokens; its tensors are views."""
    architecture = weights.architecture
    for layer in range(weights.architecture.n_layers):
        window = architecture.windows[layer : layer + 1]
        tensors = {
            name: value if name in WHOLE else value[layer : layer + 1] for name, value in weights.tensors().items()
        }
        none = {"W_E": weights.W_E[:0], "W_U": weights.W_U[:, :0], "b_U": weights.b_U[:0]}
        yield Weights(replace(architecture, n_layers=1, windows=window), **tensors | none)
