"""Load registered models with weights that TransformerLens has processed; done once and kept as safetensors."""

import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from api_schemas.errors import SelfCheckFailed
from api_schemas.models import ModelOrigin
from api_schemas.spec import ModelSpec
from worker.engine import forward
from worker.engine.activations import Activations
from worker.engine.weights import GPT2Weights
from worker.models.checkpoints import Checkpoint, find_checkpoint

log = logging.getLogger(__name__)

CACHE_FORMAT = 1
SELF_CHECK_TOKENS = 16
SELF_CHECK_TOLERANCE = 1e-3


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run."""

    weights: GPT2Weights
    revision: str
    """Hub commit, or a digest of the local files."""
    weights_sha256: str
    """Digest of the processed weights."""
    from_cache: bool
    """Whether processed weights were found, so that TransformerLens was not needed."""


@dataclass(frozen=True)
class Processed:
    """Processed weights on the CPU, with TransformerLens' own logits for the tokens of the self-check."""

    weights: GPT2Weights
    expected_logits: Tensor
    """[pos d_vocab]"""
    sha256: str


def load_model(
    name: str, flags: ModelSpec, registry: dict[str, ModelOrigin], device: torch.device | str, cache_dir: Path
) -> LoadedModel:
    """A registered model, its weights processed with the flags, checked by one forward pass on the device.

    Raises:
        ModelNotFound: Says what was looked for and where.
        UnusableModel: The files are damaged, pickled, or not a GPT-2's.
        SelfCheckFailed: The device computes other logits than TransformerLens did when the weights were processed.
    """
    checkpoint = find_checkpoint(name, registry)
    processed = read_cache(cache_path(cache_dir, checkpoint, flags))
    from_cache = processed is not None
    if processed is None:
        checkpoint = checkpoint.with_weights()
        processed = process(checkpoint, flags)
        write_cache(cache_path(cache_dir, checkpoint, flags), processed)
    weights = processed.weights.to(torch.device(device), torch.float32)
    self_check(name, weights, processed.expected_logits)
    return LoadedModel(weights, checkpoint.revision, processed.sha256, from_cache)


def self_check(name: str, weights: GPT2Weights, expected_logits: Tensor) -> None:
    """Compare one forward pass on the weights' device with the stored logits.

    Raises:
        SelfCheckFailed: They deviate by more than 1e-3 of the largest logit, or are not finite.
    """
    tokens = self_check_tokens(weights.n_ctx, weights.d_vocab).to(weights.device)
    logits = clean_logits(weights, tokens)[0].cpu()
    deviation = ((logits - expected_logits).abs().max() / expected_logits.abs().max()).item()
    if not deviation <= SELF_CHECK_TOLERANCE:  # also when it is not a number
        raise SelfCheckFailed(name, str(weights.device), deviation, SELF_CHECK_TOLERANCE)


def clean_logits(weights: GPT2Weights, tokens: Tensor) -> Tensor:
    """Logits of an unpatched run at every position: [batch pos d_vocab]."""
    last = Activations(weights, tokens).get("resid_pre", weights.n_layers)
    return forward.unembed(weights, forward.final_norm(weights, last))


def self_check_tokens(n_ctx: int, d_vocab: int) -> Tensor:
    """One prompt of fixed tokens, spread over the vocabulary."""
    return (torch.arange(min(n_ctx, SELF_CHECK_TOKENS)) * 7919 % d_vocab)[None]


def process(checkpoint: Checkpoint, flags: ModelSpec) -> Processed:
    """Process a checkpoint's weights; slow, and imports TransformerLens."""
    from worker.models.processing import process_weights

    log.info("processing the weights of %s from %s", checkpoint.name, checkpoint.folder)
    tokens = self_check_tokens(checkpoint.shape.n_ctx, checkpoint.shape.d_vocab)
    weights, logits = process_weights(checkpoint.folder, flags, tokens)
    self_check(checkpoint.name, weights, logits[0])
    return Processed(weights, logits[0].contiguous(), digest(weights.tensors()))


def cache_path(cache_dir: Path, checkpoint: Checkpoint, flags: ModelSpec) -> Path:
    """Where processed weights are kept: one file per revision, flags and version of TransformerLens."""
    key = {
        "format": CACHE_FORMAT,
        "revision": checkpoint.revision,
        "flags": flags.model_dump(exclude={"name"}),
        "transformer-lens": version("transformer-lens"),
    }
    return cache_dir / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:40]}.safetensors"


def read_cache(path: Path) -> Processed | None:
    """The processed weights of a cache file; None where there is none, or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["sha256"] != digest({name: value for name, value in tensors.items() if name != "expected_logits"}):
            raise ValueError("the digest differs")
        expected_logits = tensors.pop("expected_logits")
        weights = GPT2Weights(**tensors, eps=float(metadata["eps"]))
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as exc:
        log.warning("the processed weights in %s are damaged and will be made again: %s", path, exc)
        return None
    return Processed(weights, expected_logits, metadata["sha256"])


def write_cache(path: Path, processed: Processed) -> None:
    """Keep processed weights. Written beside and renamed, so that a reader sees all of the file or none."""
    tensors = processed.weights.tensors() | {"expected_logits": processed.expected_logits}
    metadata = {"sha256": processed.sha256, "eps": repr(processed.weights.eps)}
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=".safetensors")
        os.close(handle)
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)
    except (SafetensorError, OSError) as exc:
        log.warning("the processed weights could not be kept in %s: %s", path, exc)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of CPU tensors."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        total.update(f"{name} {list(value.shape)} {value.dtype}\n".encode())
        total.update(value.numpy().data)
    return total.hexdigest()
