"""No step of a shard waits for the device: nothing is read back to the host until the numbers are done.

Checked by the operations that would wait on a GPU, which a CPU dispatches too.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.shards import PLENTY, run_shard
from tests.tiny_weights import ALL_HEADS, LOGIT_DIFF, job, node, prompts, tiny_weights
from worker.jobs.records import Means
from worker.jobs.shard import Job, Shard, ShardInput, ShardSettings, arithmetic

WAITING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}
ATTENTION = {"kind": "attention", "query": "end", "key": "first", "head": {"layer": 2, "head": 1}}
JOBS: dict[str, tuple[dict[str, Any], Any]] = {
    "one head's query": ({"senders": ALL_HEADS, "receivers": [node("q", 2, head=1)]}, ATTENTION),
    "keys through MLPs": (
        {"senders": ALL_HEADS, "receivers": [node("k", 2, head=1)], "direct_includes_mlps": True},
        ATTENTION,
    ),
    "values and logits": (
        {"senders": ALL_HEADS, "receivers": [node("v", 1, head=0), node("v", 2, head=1)]},
        [LOGIT_DIFF, {"kind": "kl"}, {"kind": "loss"}],
    ),
    "the last stream": ({"senders": ALL_HEADS, "receivers": [node("resid_post", 2)]}, LOGIT_DIFF),
    "neurons": ({"senders": [node("post", 0, neuron=1)], "receivers": [node("pre", 2)]}, LOGIT_DIFF),
    "edges": ({"senders": ALL_HEADS, "receivers": {"sweep": {"hook": ["q", "k", "v"]}}}, LOGIT_DIFF),
    "activations": ({"kind": "activation", "nodes": {"sweep": {"hook": ["pattern", "mlp_out"]}}}, LOGIT_DIFF),
}


class Waiting(TorchDispatchMode):
    """Names the operations that would make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        indices = args[1] if "aten.index" in str(func) and isinstance(args[1], list) else []
        masks = [index for index in indices if index is not None]
        if func in WAITING or any(index.dtype == torch.bool for index in masks):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


class Copying(TorchFunctionMode):
    """Names the calls that would copy values of the host while it waits for the device to have nothing to do."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", str(func))
        if name in ("__getitem__", "__setitem__"):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(place, list | np.ndarray) for place in places):
                self.seen.append(f"{name} by a list or an array")
        moves = name == "to" and any(isinstance(value, torch.device | str) for value in (*args[1:], *kwargs.values()))
        if (moves or (name == "tensor" and "device" in kwargs)) and not kwargs.get("non_blocking"):
            self.seen.append(f"{name} a device")
        return func(*args, **kwargs)


@pytest.mark.parametrize("name", JOBS)
def test_patching_never_waits_for_the_device(name: str) -> None:
    """Prompts of one length and of several, whose rows are gathered by index."""
    patch, metrics = JOBS[name]
    for lengths in ([5, 5, 5], [6, 3, 5]):
        dataset = prompts(lengths)
        spec, weights = job(dataset, patch, metrics), tiny_weights()
        job_of_spec = Job(spec, weights.architecture, dataset.longest)
        shard = Shard.of(weights, job_of_spec, ShardInput(dataset), Means(), PLENTY)
        with arithmetic("float32"), Waiting() as waiting, Copying() as copying:
            shard.swept(0, len(dataset), 64)
        assert waiting.seen == copying.seen == []


def test_the_checks_wait_once_for_each_number_they_report() -> None:
    """Two of the completeness check, and one per metric of the identity check, however many cells there are."""
    patch, metrics = JOBS["values and logits"]
    dataset = prompts([5, 4])
    with Waiting() as waiting:
        run_shard(tiny_weights(), job(dataset, patch, metrics), dataset, 5, "patch", b"", ShardSettings(2**30))
    assert waiting.seen == ["aten._local_scalar_dense.default"] * (2 + len(metrics))
