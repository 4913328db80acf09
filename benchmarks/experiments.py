"""The experiments that are measured: specs for a GPT-2-small-sized model, and random prompts for them.

Needs what the engine needs and no more: torch, numpy and pydantic.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import benchmarks.jaxtyping_stand_in  # noqa: F401
from api_schemas.datasets import ResolvedDataset
from api_schemas.spec import JobSpec
from planning.architecture import Architecture, Rotary
from tests.shards import assemble, run_shard
from worker.engine.model import Weights
from worker.jobs.kind import AssembledResult
from worker.jobs.shard import ShardSettings

SHAPE = Architecture(n_layers=12, n_heads=12, d_model=768, d_mlp=3072, n_ctx=1024, d_vocab=50257)
_LLAMA: dict[str, Any] = {"family": "llama", "norm": "rms_norm", "activation": "silu", "is_gated": True}
LLAMA = Architecture(
    30, 9, 576, 1536, 2048, 49152, n_kv_heads=3, rotary=Rotary(tuple(10000.0 ** (-i / 32) for i in range(32))), **_LLAMA
)
"""SmolLM2-135M's sizes."""
LLAMA_8B = Architecture(
    32, 32, 4096, 14336, 8192, 128256, n_kv_heads=8, rotary=Rotary(tuple(5e5 ** (-i / 64) for i in range(64))), **_LLAMA
)
"""Llama 3's, of 8 billion parameters."""
N_EXAMPLES, N_POS = 20, 16
IOI_LENGTHS = (14, 14, 15, 15, 15, 15, 15, 16, 16, 16, 16, 16, 16, 16, 16, 17, 17, 17, 18, 19)
"""Of 20 prompts of ``ioi`` with GPT-2's tokenizer; orig and new first differ at token 2.1, on average over 800."""
N_HEADED, HEADER = 100, 200
"""Prompts that share a header, and its tokens."""
SCALE = 0.05
HEADS: dict[str, Any] = {"sweep": {"hook": "z"}}
ATTENTION = {"kind": "attention_diff", "query": "end", "key": "IO", "minus_key": "S1"}
LOGITS = {"kind": "logit_diff", "answer": "IO", "minus_answer": "S"}
QUERY = [{"hook": "q", "layer": 10, "head": 7}]
FOUNDING = [{"hook": "z", "layer": layer, "head": head} for layer, head in ((9, 6), (9, 9), (10, 10))]
VALUES = [{"hook": "v", "layer": layer, "head": head} for layer, head in ((7, 3), (7, 9), (8, 6), (8, 10))]


@dataclass(frozen=True)
class Experiment:
    """A patch and a metric, and the bar that the engine has to clear on a CPU."""

    key: str
    patch: dict[str, Any]
    metric: dict[str, Any]
    at_least: float | None = None
    """Times the reference's speed."""
    strict: float | None = None
    """Likewise, by the strict ratio."""
    floor: float | None = None
    """At most this many times the time of its floor: the founding experiment's products, or two clean runs."""
    reference_cells: int = 4
    """Cells of the reference that stand for all."""
    repeats: int = 3
    lengths: tuple[int, ...] = (N_POS,) * N_EXAMPLES
    """Of the prompts."""
    shared: int = 0
    """Tokens at the beginning of each prompt that its counterfactual has too."""


def last_stream(shape: Architecture) -> list[dict[str, Any]]:
    """The stream that the logits are read from."""
    return [{"hook": "resid_post", "layer": shape.n_layers - 1}]


EXPERIMENTS = [
    Experiment(
        "seed_job", {"senders": FOUNDING, "receivers": QUERY}, ATTENTION, 4, floor=1.25, reference_cells=1, repeats=9
    ),
    Experiment(
        "seed_job_mixed",
        {"senders": FOUNDING, "receivers": QUERY},
        ATTENTION,
        5.5,
        floor=1.25,
        strict=3.4,
        reference_cells=1,
        repeats=9,
        lengths=IOI_LENGTHS,
        shared=2,
    ),
    Experiment("sweep_query_skip", {"senders": HEADS, "receivers": QUERY}, ATTENTION, 150, repeats=5),
    Experiment(
        "sweep_query_mlps", {"senders": HEADS, "receivers": QUERY, "direct_includes_mlps": True}, ATTENTION, 100
    ),
    Experiment(
        "sweep_logits_mlps",
        {"senders": HEADS, "receivers": last_stream(SHAPE), "direct_includes_mlps": True},
        LOGITS,
        100,
        strict=100,
    ),
    Experiment("sweep_values_logits", {"senders": HEADS, "receivers": VALUES}, LOGITS, 10, strict=8),
    Experiment(
        "edges",
        {"senders": HEADS, "receivers": {"sweep": {"hook": ["q", "k"]}}},
        ATTENTION,
        floor=5,
        reference_cells=50,
    ),
]


def random_prompts(n_examples: int, d_vocab: int = SHAPE.d_vocab, seed: int = 0) -> ResolvedDataset:
    """Random tokens, with the roles and answers of IOI prompts."""
    return prompts_of_lengths((N_POS,) * n_examples, 0, d_vocab, seed)


def prompts_of_lengths(
    lengths: tuple[int, ...], shared: int = 0, d_vocab: int = SHAPE.d_vocab, seed: int = 0
) -> ResolvedDataset:
    """Random tokens, of which orig and new have the first ``shared`` in common."""
    n_examples = len(lengths)
    drawn = np.random.default_rng(seed).integers(0, d_vocab, (2, n_examples, max(lengths)))
    drawn[1, :, :shared] = drawn[0, :, :shared]
    orig, new = ([prompt[:length].tolist() for prompt, length in zip(run, lengths, strict=True)] for run in drawn)
    return ResolvedDataset(
        orig=orig,
        new=new,
        roles={"IO": [2] * n_examples, "S1": [4] * n_examples, "end": [length - 1 for length in lengths]},
        answers={"IO": [prompt[2] for prompt in orig], "S": [prompt[4] for prompt in orig]},
    )


def prompts_of(experiment: Experiment) -> ResolvedDataset:
    """Those that an experiment is measured on."""
    return prompts_of_lengths(experiment.lengths, experiment.shared)


def with_header(dataset: ResolvedDataset, n_tokens: int = HEADER, d_vocab: int = SHAPE.d_vocab) -> ResolvedDataset:
    """The same prompts after one header of random tokens."""
    header = np.random.default_rng(1).integers(0, d_vocab, n_tokens).tolist()
    roles = {role: [n_tokens + place for place in places] for role, places in dataset.roles.items()}
    orig, new = ([header + prompt for prompt in prompts] for prompts in (dataset.orig, dataset.new))
    return dataset.model_copy(update={"orig": orig, "new": new, "roles": roles})


def spec_of(
    patch: dict[str, Any],
    metric: dict[str, Any],
    dataset: ResolvedDataset,
    dtype: str = "float32",
    per_example: bool = True,
    method: str = "exact",
) -> JobSpec:
    """The job as a client would write it."""
    prompts = {"kind": "tokens", **dataset.model_dump(exclude={"start"})}
    return JobSpec.model_validate(
        {
            "model": {"name": "random"},
            "dataset": prompts,
            "patch": patch,
            "metric": metric,
            "dtype": dtype,
            "method": method,
            "output": {"per_example": per_example},
        }
    )


def run_once(weights: Weights, spec: JobSpec, dataset: ResolvedDataset, settings: ShardSettings) -> AssembledResult:
    """From tokens to the result, checks included."""
    output = run_shard(weights, spec, dataset, dataset.longest, "patch", b"", settings)
    return assemble(spec, weights.architecture, dataset.longest, b"", [output])


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def founding_flops(shape: Architecture, rows: int) -> float:
    """Products that the founding experiment cannot do without: ten layers of every row of both runs."""
    return rows * 10 * 2 * shape.d_model * (4 * shape.d_model + 2 * shape.d_mlp)


def random_weights(
    shape: Architecture, seed: int = 0, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Weights:
    """Weights as they are after processing, made with torch alone: norms folded, everything else random."""
    generator = torch.Generator(device).manual_seed(seed)

    def drawn(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, device=device, dtype=dtype).mul_(SCALE)

    def filled(value: float, *size: int) -> torch.Tensor:
        return torch.full(size, value, device=device, dtype=dtype)

    n_layers, d_model, d_head, d_mlp = shape.n_layers, shape.d_model, shape.d_head, shape.d_mlp
    per_head, per_kv_head = (n_layers, shape.n_heads), (n_layers, shape.n_kv_heads)
    ones, zeros = filled(1, n_layers, d_model), filled(0, n_layers, d_model)
    return Weights(
        architecture=shape,
        W_E=drawn(shape.d_vocab, d_model),
        W_pos=drawn(shape.n_ctx, d_model) if shape.rotary is None else None,
        W_Q=drawn(*per_head, d_model, d_head),
        W_K=drawn(*per_kv_head, d_model, d_head),
        W_V=drawn(*per_kv_head, d_model, d_head),
        b_Q=drawn(*per_head, d_head),
        b_K=drawn(*per_kv_head, d_head),
        b_V=drawn(*per_kv_head, d_head),
        W_O=drawn(*per_head, d_head, d_model),
        b_O=drawn(n_layers, d_model),
        W_gate=drawn(n_layers, d_model, d_mlp) if shape.is_gated else None,
        b_gate=filled(0, n_layers, d_mlp) if shape.is_gated else None,
        W_in=drawn(n_layers, d_model, d_mlp),
        b_in=drawn(n_layers, d_mlp),
        W_out=drawn(n_layers, d_mlp, d_model),
        b_out=drawn(n_layers, d_model),
        ln1_w=ones,
        ln1_b=zeros,
        ln2_w=ones,
        ln2_b=zeros,
        ln_final_w=ones[0],
        ln_final_b=zeros[0],
        W_U=drawn(d_model, shape.d_vocab),
        b_U=drawn(shape.d_vocab),
    )


def reset_peak() -> None:
    """Let this process's peak of resident memory start here (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_resident_bytes() -> int:
    """This process's largest resident memory since the reset (Linux)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
