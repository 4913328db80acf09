"""Tiny random GPT-2s made directly as engine weights, and jobs on them: for the engine's own property tests."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from planning.architecture import Architecture
from tests.shards import PLENTY, run_job
from worker.engine.model import Weights
from worker.jobs.kind import AssembledResult
from worker.jobs.shard import ShardSettings

D_VOCAB = 19
LOGIT_DIFF = {"kind": "logit_diff", "answer": "A", "minus_answer": "B"}
ALL_HEADS = {"sweep": {"hook": "z"}}


@lru_cache
def tiny_weights(
    n_layers: int = 3,
    n_heads: int = 2,
    d_head: int = 4,
    d_mlp: int = 12,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    n_ctx: int = 16,
) -> Weights:
    """Every weight, bias and LayerNorm parameter random, and large enough that attention is far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    d_model = n_heads * d_head

    def drawn(*shape: int, mean: float = 0.0) -> torch.Tensor:
        return (mean + 0.4 * torch.randn(*shape, generator=generator)).to(dtype)

    per_head = (n_layers, n_heads)
    return Weights(
        architecture=Architecture(n_layers, n_heads, d_model, d_mlp, n_ctx=n_ctx, d_vocab=D_VOCAB),
        W_E=drawn(D_VOCAB, d_model),
        W_pos=drawn(n_ctx, d_model),
        W_Q=drawn(*per_head, d_model, d_head),
        W_K=drawn(*per_head, d_model, d_head),
        W_V=drawn(*per_head, d_model, d_head),
        b_Q=drawn(*per_head, d_head),
        b_K=drawn(*per_head, d_head),
        b_V=drawn(*per_head, d_head),
        W_O=drawn(*per_head, d_head, d_model),
        b_O=drawn(n_layers, d_model),
        W_in=drawn(n_layers, d_model, d_mlp),
        b_in=drawn(n_layers, d_mlp),
        W_out=drawn(n_layers, d_mlp, d_model),
        b_out=drawn(n_layers, d_model),
        ln1_w=drawn(n_layers, d_model, mean=1),
        ln1_b=drawn(n_layers, d_model),
        ln2_w=drawn(n_layers, d_model, mean=1),
        ln2_b=drawn(n_layers, d_model),
        ln_final_w=drawn(d_model, mean=1),
        ln_final_b=drawn(d_model),
        W_U=drawn(d_model, D_VOCAB),
        b_U=drawn(D_VOCAB),
    )


def prompts(lengths: Sequence[int], seed: int = 0) -> ResolvedDataset:
    """Random prompts of the given lengths, with roles ``end``, ``first`` and ``middle`` and answers ``A`` and ``B``."""
    rng = np.random.default_rng(seed)

    def tokens() -> list[list[int]]:
        return [rng.integers(0, D_VOCAB, length).tolist() for length in lengths]

    return ResolvedDataset(
        orig=tokens(),
        new=tokens(),
        roles={
            "end": [length - 1 for length in lengths],
            "first": [0 for _ in lengths],
            "middle": [(length - 1) // 2 for length in lengths],
        },
        answers={name: rng.integers(0, D_VOCAB, len(lengths)).tolist() for name in ("A", "B")},
    )


def with_itself(dataset: ResolvedDataset) -> ResolvedDataset:
    """The same prompts as both runs."""
    return dataset.model_copy(update={"new": dataset.orig})


def job(dataset: ResolvedDataset, patch: dict[str, Any], metrics: Any = LOGIT_DIFF, **fields: Any) -> JobSpec:
    """A spec for prompts that are already tokens."""
    listed = {"metrics": metrics} if isinstance(metrics, list) else {"metric": metrics}
    tokens = dataset.model_dump(exclude={"start"})
    return JobSpec.model_validate(
        {"model": {"name": "tiny"}, "dataset": {"kind": "tokens", **tokens}, "patch": patch, **listed, **fields}
    )


def result_of(
    weights: Weights,
    dataset: ResolvedDataset,
    patch: dict[str, Any],
    metrics: Any = LOGIT_DIFF,
    cuts: Sequence[int] = (),
    settings: ShardSettings = PLENTY,
    **fields: Any,
) -> AssembledResult:
    """A job's result, from its shards."""
    return run_job(weights, job(dataset, patch, metrics, **fields), dataset, cuts, settings)


def patched(
    weights: Weights, dataset: ResolvedDataset, patch: dict[str, Any], metrics: Any = LOGIT_DIFF, **more: Any
) -> np.ndarray:
    """The metric of the patched runs: per example for one cell, [*cells, example] for a sweep.

    Of several metrics, [*cells, example, metric].
    """
    arrays = result_of(weights, dataset, patch, metrics, output={"per_example": True}, **more).arrays
    if not isinstance(metrics, list):
        return arrays["0/patched"]
    return np.stack([arrays[f"{index}/patched"] for index in range(len(metrics))], axis=-1)


def node(hook: str, layer: int | None = None, **more: Any) -> dict[str, Any]:
    """A node of a spec."""
    return {"hook": hook, **({} if layer is None else {"layer": layer}), **more}
