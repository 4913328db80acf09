"""Load registered models with processed weights; they are processed once and kept as safetensors."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from api_schemas.errors import ModelChanged, SelfCheckFailed, UnusableModel
from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from checkpoints.files import UnusableCheckpoint
from checkpoints.folder import configuration
from worker.engine.model import Weights
from worker.models.capacity import check_file_fits, check_fits
from worker.models.checkpoints import Checkpoint, find_checkpoint, locate
from worker.models.direct import UNEMBEDDED_AT_ONCE, layerwise_logits, read_weights
from worker.models.processed import Processed, cache_path, digest, read_cache, write_cache
from worker.models.sources import dequantised_from, source_of

log = logging.getLogger(__name__)

SELF_CHECK_TOKENS = 16
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.05}
"""Of the largest logit, by the precision of the weights."""
TERMS_SHARE = 1e-2
"""Of the terms that a logit is the sum of: where they cancel, the logits alone say nothing of the rounding."""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run."""

    weights: Weights
    revision: str
    """Hub commit, or a digest of the local files."""
    weights_sha256: str
    """Digest of the processed weights."""
    from_cache: bool
    """Whether processed weights were found, so that the checkpoint was not read."""
    dequantised_from: tuple[str, ...] = ()
    """Types of the checkpoint's quantised tensors."""


def load_model(
    name: str,
    flags: ModelSpec,
    registry: dict[str, ModelOrigin],
    device: torch.device | str,
    cache_dir: Path,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> LoadedModel:
    """A registered model, its weights processed with the flags, checked by one forward pass on the device.

    Args:
        revision: The one that is wanted; processed weights of it serve even after the files were replaced. None takes
            whatever is there.

    Raises:
        ModelNotFound: Says what was looked for and where.
        UnusableModel: The files are damaged, pickled, or of a model that cannot be run.
        ModelChanged: The files are of another revision now, and no processed weights of the wanted one are left.
        SelfCheckFailed: The device computes other logits than were found when the weights were processed.
    """

    def cached(of: str) -> LoadedModel | None:
        path = cache_path(cache_dir, of, flags, dtype)
        check_file_fits(name, path, device)
        processed = read_cache(path)
        return None if processed is None else _checked(name, processed, of, device, True)

    if revision is not None:
        locate(name, registry)  # a model that is gone has no revisions either
        if (found := cached(revision)) is not None:
            return found
    checkpoint = _of_revision(find_checkpoint(name, registry), revision)
    check_fits(checkpoint.folder, checkpoint.architecture, device, dtype)
    if (found := cached(checkpoint.revision)) is not None:
        return found
    checkpoint = _of_revision(checkpoint.with_weights(), revision)
    processed = process(checkpoint, flags, dtype)
    if not checkpoint.is_current():
        raise ModelChanged(name, checkpoint.revision, "another (they were replaced while they were read)")
    write_cache(cache_path(cache_dir, checkpoint.revision, flags, dtype), processed)
    return _checked(name, processed, checkpoint.revision, device, False)


def _of_revision(checkpoint: Checkpoint, revision: str | None) -> Checkpoint:
    """The checkpoint, if it is of the wanted revision."""
    if revision not in (None, checkpoint.revision):
        raise ModelChanged(checkpoint.name, str(revision), checkpoint.revision)
    return checkpoint


def _checked(
    name: str, processed: Processed, revision: str, device: torch.device | str, from_cache: bool
) -> LoadedModel:
    weights = processed.weights.to(torch.device(device))
    self_check(name, weights, processed.expected_logits)
    return LoadedModel(weights, revision, processed.sha256, from_cache, processed.dequantised_from)


def self_check(name: str, weights: Weights, expected_logits: Tensor) -> None:
    """Compare one forward pass on the weights' device with the stored logits.

    Raises:
        SelfCheckFailed: They deviate by more than 1e-3 of the largest logit, or are not finite.
    """
    deviation, tolerance = logit_deviation(weights, expected_logits), TOLERANCES[weights.dtype]
    if not deviation <= tolerance:  # also when it is not a number
        raise SelfCheckFailed(name, str(weights.device), deviation, tolerance)


def logit_deviation(weights: Weights, expected_logits: Tensor) -> float:
    """How far the logits of the self-check's tokens are from the stored ones, relative to the largest.

    A model whose logits are all equal has none that is large once the unembedding is centred; what is left of them is
    rounding, so the size of their terms counts too.
    """
    tokens = self_check_tokens(weights.architecture.n_ctx, weights.architecture.d_vocab).to(weights.device)
    final, found = layerwise_logits(weights, tokens)
    logits, sizes = found[0].cpu(), final[0].abs()
    columns = weights.W_U.split(UNEMBEDDED_AT_ONCE, dim=1)
    terms = max((sizes @ some.float().abs()).max().item() for some in columns)
    largest = expected_logits.abs().max().item() + TERMS_SHARE * terms
    off = (logits - expected_logits).abs().max().item()
    return 0.0 if off == 0 else off / largest if largest else float("inf")


def self_check_tokens(n_ctx: int, d_vocab: int) -> Tensor:
    """One prompt of fixed tokens, spread over the vocabulary."""
    return (torch.arange(min(n_ctx, SELF_CHECK_TOKENS)) * 7919 % d_vocab)[None]


def process(checkpoint: Checkpoint, flags: ModelSpec, dtype: torch.dtype = torch.float32) -> Processed:
    """Process a checkpoint's weights; slow. GPT-2's are processed by TransformerLens, which this imports.

    Raises:
        UnusableModel: The weights are not those of ``config.json``, or too large for their precision.
    """
    log.info("processing the weights of %s from %s", checkpoint.name, checkpoint.folder)
    tokens = self_check_tokens(checkpoint.architecture.n_ctx, checkpoint.architecture.d_vocab)
    if checkpoint.architecture.family == "gpt2":
        from worker.models.processing import process_weights

        weights, logits = process_weights(checkpoint.folder, checkpoint.architecture, flags, tokens)
    else:
        weights, logits = _read(checkpoint, flags, dtype, tokens)
    if not logits.isfinite().all():
        raise UnusableModel(str(checkpoint.folder), "its logits are not finite: the weights are too large for float32")
    deviation = logit_deviation(weights, logits[0])
    if not deviation <= TOLERANCES[weights.dtype]:
        other = "TransformerLens'" if checkpoint.architecture.family == "gpt2" else "that of its unprocessed weights"
        reason = f"our forward pass and {other} differ by {deviation:.1e} (relative) on its weights"
        raise UnusableModel(str(checkpoint.folder), reason)
    weights = weights.to(dtype=dtype)
    types = dequantised_from(checkpoint.folder)
    return Processed(weights, logits[0].contiguous(), digest(weights.tensors()), types)


def _read(checkpoint: Checkpoint, flags: ModelSpec, dtype: torch.dtype, tokens: Tensor) -> tuple[Weights, Tensor]:
    try:
        found = configuration(checkpoint.folder)
        return read_weights(found, source_of(checkpoint.folder, found), flags, dtype, tokens)
    except (UnusableCheckpoint, EOFError) as exc:
        raise UnusableModel(str(checkpoint.folder), str(exc)) from exc
