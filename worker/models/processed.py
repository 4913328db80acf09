"""Processed weights on disk: one safetensors file per revision and flags, used by every worker of the machine."""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from api_schemas.spec import ModelSpec
from planning.architecture import architecture_from
from worker.engine.model import Weights

log = logging.getLogger(__name__)

CACHE_FORMAT = 5
WRITING = ".writing-"
ABANDONED_S = 3600.0
"""A file that has been written for so long belongs to a process that has died."""


@dataclass(frozen=True)
class Processed:
    """Processed weights on the CPU, with the logits that are expected of the tokens of the self-check.

    These are TransformerLens' own of GPT-2, and of other families the unprocessed weights'.
    """

    weights: Weights
    expected_logits: Tensor
    """[pos d_vocab]"""
    sha256: str
    dequantised_from: tuple[str, ...] = ()
    """Types of the checkpoint's quantised tensors."""


def cache_path(cache_dir: Path, revision: str, flags: ModelSpec, dtype: torch.dtype = torch.float32) -> Path:
    """Where processed weights are kept: one file per revision, flags, precision and version of TransformerLens."""
    key = {
        "format": CACHE_FORMAT,
        "revision": revision,
        "flags": flags.model_dump(exclude={"name"}),
        "transformer-lens": version("transformer-lens"),
    } | ({} if dtype == torch.float32 else {"dtype": str(dtype)})
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
        weights = Weights(architecture_from(json.loads(metadata["architecture"])), **tensors)
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as exc:
        log.warning("the processed weights in %s are damaged and will be made again: %s", path, exc)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the last use, for ``sweep``
    return Processed(weights, expected_logits, metadata["sha256"], tuple(json.loads(metadata["dequantised_from"])))


def write_cache(path: Path, processed: Processed) -> None:
    """Keep processed weights. Written beside and renamed, so that a reader sees all of the file or none."""
    tensors = processed.weights.tensors() | {"expected_logits": processed.expected_logits}
    metadata = {
        "sha256": processed.sha256,
        "architecture": json.dumps(asdict(processed.weights.architecture)),
        "dequantised_from": json.dumps(processed.dequantised_from),
    }
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=WRITING, suffix=".safetensors")
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
        total.update(value.view(torch.uint8).numpy().data)
    return total.hexdigest()


def sweep(folder: Path, max_bytes: int) -> None:
    """Remove the least recently used files until the others fit; the one used last stays whatever its size."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{WRITING}*"):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()
        used = sorted(folder.glob("[!.]*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
        total = 0
        for path in used:
            total += path.stat().st_size
            if total > max_bytes and path != used[0]:
                log.info("removed the processed weights in %s to make room", path)
                path.unlink()
