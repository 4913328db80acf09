"""Activations: asked for in any order they are the same, and nobody changes what is kept."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from api_schemas.datasets import ResolvedDataset
from tests.shards import run_job
from tests.tiny_weights import ALL_HEADS, LOGIT_DIFF, job, node, patched, prompts, result_of, tiny_weights
from worker.engine import transformer
from worker.engine.runs import Activations, clean_runs
from worker.jobs.activation_cache import ActivationCache
from worker.jobs.shard import ShardSettings

HOOKS = ["resid_pre", "resid_mid", "resid_post", "q", "k", "v", "z", "pattern", "attn_out", "pre", "post", "mlp_out"]


def tokens_of(lengths: list[int]) -> torch.Tensor:
    dataset = prompts(lengths)
    return clean_runs(tiny_weights(), dataset.orig, dataset.new).tokens


@pytest.mark.parametrize("hook", HOOKS)
def test_an_activation_is_the_same_kept_or_computed_when_asked_for(hook: str) -> None:
    """What is kept is a matter of time only."""
    weights, tokens = tiny_weights(), tokens_of([5, 4])
    passing = Activations(weights, tokens, wanted=frozenset({(hook, 1), ("resid_pre", 1)}))
    passing.get("resid_pre", 3)
    torch.testing.assert_close(passing.get(hook, 1), Activations(weights, tokens).get(hook, 1), atol=1e-6, rtol=1e-6)


def test_the_forward_pass_is_the_one_written_out_by_hand() -> None:
    """One prompt, one position at a time, with no function of the engine."""
    weights, tokens = tiny_weights(), tokens_of([4])[:1]
    stream = weights.W_E[tokens[0]] + weights.W_pos[:4]

    def norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + weights.architecture.eps).sqrt() * scale + bias

    for layer in range(3):
        normed = norm(stream, weights.ln1_w[layer], weights.ln1_b[layer])
        written = weights.b_O[layer].expand(4, -1).clone()
        for head in range(2):
            q, k, v = (
                normed @ weight[layer, head] + bias[layer, head]
                for weight, bias in ((weights.W_Q, weights.b_Q), (weights.W_K, weights.b_K), (weights.W_V, weights.b_V))
            )
            for pos in range(4):
                attention = (k[: pos + 1] @ q[pos] / 2).softmax(0)  # sqrt(d_head) = 2
                written[pos] += attention @ v[: pos + 1] @ weights.W_O[layer, head]
        stream = stream + written
        pre = norm(stream, weights.ln2_w[layer], weights.ln2_b[layer]) @ weights.W_in[layer] + weights.b_in[layer]
        post = 0.5 * pre * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (pre + 0.044715 * pre**3)))
        stream = stream + post @ weights.W_out[layer] + weights.b_out[layer]
    logits = norm(stream, weights.ln_final_w, weights.ln_final_b) @ weights.W_U + weights.b_U
    last = Activations(weights, tokens).get("resid_pre", 3)
    got = transformer.unembed(weights, transformer.norm(weights, "ln_final", None, last))[0]
    torch.testing.assert_close(got, logits, atol=1e-4, rtol=1e-4)


def hashes(cache: ActivationCache) -> dict[object, str]:
    """A digest of every kept tensor."""
    return {
        (place, str(key)): hashlib.sha256(value.cpu().contiguous().view(torch.uint8).numpy()).hexdigest()
        for key, entry in cache._entries.items()
        for place, value in entry.kept.items()
    }


@pytest.mark.parametrize("through_mlps", [False, True])
def test_kept_tensors_are_the_same_before_and_after_every_job(through_mlps: bool) -> None:
    """Jobs on the same prompts share them: one that wrote into them would spoil the next."""
    weights, dataset, cache = tiny_weights(), prompts([5, 4]), ActivationCache(2**24)
    settings = ShardSettings(memory_bytes=2**28, activation_cache=cache)
    receivers = [[node("q", 2)], [node("v", 1), node("k", 2, head=0)], [node("resid_post", 2)], [node("pre", 1)]]
    patches = [{"senders": ALL_HEADS, "receivers": nodes, "direct_includes_mlps": through_mlps} for nodes in receivers]
    patches += [{**patches[1], "source": source} for source in ("zero", "mean")]
    patches.append({"kind": "activation", "nodes": {"sweep": {"hook": ["z", "pattern", "v", "resid_mid"]}}})
    metrics = [LOGIT_DIFF, {"kind": "kl"}, {"kind": "loss"}]
    jobs: list[dict[str, Any]] = [{"patch": patch, "metrics": metrics} for patch in patches]
    jobs += [{**one, "method": "attribution", "output": {}} for one in jobs[:6]]
    jobs.append({**jobs[7], "verify": 3})
    jobs.append({**jobs[0], "dtype": "bfloat16"})

    def run(one: dict[str, Any], **more: Any) -> dict[str, np.ndarray]:
        return result_of(weights, dataset, **{"output": {"per_example": True}, **one}, **more).arrays

    for one in jobs:
        run(one, settings=settings)
    before = hashes(cache)
    again = [run(one, settings=settings) for one in jobs]
    assert before and before == {place: digest for place, digest in hashes(cache).items() if place in before}
    for one, cached in zip(jobs, again, strict=True):
        for name, value in run(one).items():
            np.testing.assert_allclose(cached[name], value, atol=1e-6, rtol=1e-6, err_msg=f"{one} {name}")


def test_kept_activations_are_of_one_arithmetic() -> None:
    """A GPU rounds those of ``tf32``: a job in float32 on the same prompts must not find them."""
    weights, dataset, cache = tiny_weights(), prompts([5, 4]), ActivationCache(2**24)
    settings = ShardSettings(memory_bytes=2**28, activation_cache=cache)
    patch, kept = {"senders": ALL_HEADS, "receivers": [node("q", 2)]}, []
    for dtype in ("tf32", "float32", "bfloat16", "float32"):
        result_of(weights, dataset, patch, settings=settings, dtype=dtype)
        kept.append(len(cache._entries))
    assert kept == [1, 2, 3, 3]


def test_weights_are_the_same_before_and_after_a_job() -> None:
    """They are shared by every job of a worker."""
    weights = tiny_weights()
    before = {name: value.clone() for name, value in weights.tensors().items()}
    patched(weights, prompts([5]), {"senders": ALL_HEADS, "receivers": [node("v", 1)], "direct_includes_mlps": True})
    assert all(torch.equal(before[name], value) for name, value in weights.tensors().items())


def grown(name: str, cache: ActivationCache) -> Activations:
    """Activations that were got while empty and then computed, as a shard's are."""
    activations = cache.get(name, lambda: Activations(tiny_weights(), tokens_of([5])))
    activations.get("resid_pre", 1)
    return activations


def test_the_cache_forgets_the_least_recently_used_prompts_first() -> None:
    """And never holds more than its bytes, of what it kept at the last look."""
    cache = ActivationCache(2**30)
    entries = {name: grown(name, cache) for name in "ab"}
    cache.max_bytes = 2 * entries["a"].n_bytes
    assert grown("a", cache) is entries["a"]
    entries["c"] = grown("c", cache)
    kept = {name: grown(name, cache) is entries[name] for name in "acb"}
    assert kept == {"a": True, "c": True, "b": False}
    assert cache.n_bytes <= cache.max_bytes


def test_a_batch_larger_than_the_cache_is_forgotten_at_the_next_look() -> None:
    """The cache then holds what else there is."""
    cache = ActivationCache(10)
    first = grown("a", cache)
    cache.get("b", lambda: Activations(tiny_weights(), tokens_of([5])))
    assert cache.n_bytes == 0
    assert grown("a", cache) is not first


def test_the_last_prompts_of_a_large_job_do_not_displace_its_first_ones() -> None:
    """The next job on the same prompts finds those that were kept; another job's prompts displace them."""
    weights, dataset, others = tiny_weights(), prompts([5] * 6), prompts([5] * 6, seed=1)
    spec = job(dataset, {"senders": ALL_HEADS, "receivers": [node("q", 2)]}, output={"per_example": True})
    whole = run_job(weights, spec, dataset).arrays["0/patched"]

    def kept_after(asked: ResolvedDataset, cache: ActivationCache) -> list[str]:
        found = run_job(weights, spec, asked, [1, 2, 3, 4, 5], ShardSettings(2**28, cache)).arrays["0/patched"]
        if asked is dataset:
            np.testing.assert_allclose(found, whole, atol=1e-6)
        return [str(prompt) for _, _, prompt, _ in cache._entries]  # type: ignore[misc]

    roomy = ActivationCache(2**30)
    assert len(kept_after(dataset, roomy)) == 6
    cache = ActivationCache(roomy.n_bytes // 2)
    kept = kept_after(dataset, cache)
    assert kept == [str([prompt]) for prompt in dataset.orig[: len(kept)]]
    assert 0 < len(kept) < 6
    assert kept_after(dataset, cache) == kept
    assert str([others.orig[0]]) in kept_after(others, cache)


def test_looking_into_a_full_cache_measures_two_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has run thousands of small jobs takes the next as fast as the first."""
    cache = ActivationCache(2**30)
    for number in range(50):
        grown(str(number), cache)
    measured: list[Activations] = []

    def measure(activations: Activations) -> int:
        measured.append(activations)
        return 0

    monkeypatch.setattr(Activations, "n_bytes", property(measure))
    grown("another", cache)
    assert len(measured) == 2
