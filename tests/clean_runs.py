"""Unpatched runs of the engine, to be compared with other people's."""

from torch import Tensor

from worker.engine import transformer
from worker.engine.model import Weights
from worker.engine.runs import Activations


def last_residual(weights: Weights, tokens: Tensor) -> Tensor:
    """What leaves the last block: [batch pos d_model]."""
    return Activations(weights, tokens).get("resid_pre", weights.architecture.n_layers)


def clean_logits(weights: Weights, tokens: Tensor) -> Tensor:
    """Logits at every position: [batch pos d_vocab]."""
    return transformer.unembed(weights, transformer.norm(weights, "ln_final", None, last_residual(weights, tokens)))
