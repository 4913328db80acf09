"""Weights of every family but GPT-2: read straight into their places and processed there, without TransformerLens."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from api_schemas.spec import ModelSpec
from checkpoints.folder import Configuration
from worker.engine import attention, transformer
from worker.engine.model import Weights
from worker.models.assembly import assemble
from worker.models.folding import applied_flags, fold
from worker.models.sources import Source

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
        final = transformer.final_norm(weights, layerwise_residual(weights, tokens))
        logits = transformer.unembed(weights, final).float()
        applied = applied_flags(flags, found.architecture)
        if applied["center_unembed"]:
            logits = logits - logits.mean(dim=-1, keepdim=True)
        return fold(weights, applied), logits


def layerwise_residual(weights: Weights, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
    """What leaves the last block of an unpatched run.

    Layer by layer, so that what the engine derives from weights, such as ``W_QKV``, is there of one layer at a time.
    """
    resid = transformer.embed(weights, tokens)
    for one in layers_of(weights):

        def attend(q: Tensor, k: Tensor, v: Tensor, one: Weights = one) -> Tensor:
            return attention.attend(one, 0, q, k, v)

        resid = transformer.block(one, 0, resid, attend)
    return resid


def layers_of(weights: Weights) -> Iterator[Weights]:
    """Each layer as a model of its own; its tensors are views."""
    architecture = weights.architecture
    for layer in range(weights.n_layers):
        window = architecture.windows[layer : layer + 1]
        tensors = {
            name: value if name in WHOLE else value[layer : layer + 1] for name, value in weights.tensors().items()
        }
        yield Weights(replace(architecture, n_layers=1, windows=window), **tensors)
