"""The two clean runs of a batch of examples: what is kept of them, and what patched activations become.

An activation is computed when first asked for, and kept where it will be asked for again.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planning.graph import Graph, Site
from worker.engine import attention, transformer
from worker.engine.model import Weights

LayerHook = tuple[str, int]
CHECKPOINTS = frozenset({"resid_pre", "resid_mid", "z", "k", "v", "rot_k"})
"""What later jobs on the same prompts are likely to need, and from which everything else follows quickly."""
Source = Literal["new", "zero", "mean", "orig"]
"""What a patched activation becomes; ``orig`` patches orig with itself: the identity check."""


@dataclass
class Activations:
    """Activations of orig and new prompts, stacked: the first half of the batch is orig.

    Kept tensors are never modified. ``resid_pre`` of layer ``n_layers`` is the last residual stream.
    """

    weights: Weights
    tokens: Int[Tensor, "both pos"]
    wanted: frozenset[LayerHook] = frozenset()
    kept: dict[LayerHook, Tensor] = field(default_factory=dict)
    first_example: dict[LayerHook, Tensor] = field(default_factory=dict)
    """What attention and MLPs wrote in the first example's two runs, in passing: for the completeness check."""
    completeness: dict[bool, tuple[float, float]] = field(default_factory=dict)
    """That check's answer, by whether through MLPs: it depends on weights and prompts only."""

    def get(self, hook: str, layer: int | None) -> Float[Tensor, "both ..."]:
        """One activation, under TransformerLens' short name; ``resid_post`` is the next layer's ``resid_pre``."""
        if hook == "embed":
            return self.weights.W_E[self.tokens]
        if hook == "pos_embed":
            n_rows, n_pos = self.tokens.shape
            return transformer.position_embeddings(self.weights, n_pos).expand(n_rows, n_pos, -1)
        assert layer is not None
        if hook == "resid_post":
            return self.get("resid_pre", layer + 1)
        if (hook, layer) not in self.kept:
            if hook == "resid_pre":
                self._run_to(layer)
            else:
                self.kept[hook, layer] = self._compute(hook, layer)
        return self.kept[hook, layer]

    def keys(self, layer: int, heads: list[int]) -> Float[Tensor, "both pos heads d_head"]:
        """Keys as scores of some query heads read them; only theirs are computed where the layer's are not kept."""
        weights = self.weights
        point = ("rot_k" if weights.architecture.has_positioned_keys else "k"), layer
        if point in self.kept:
            groups = [head // weights.architecture.group_size for head in heads]
            return self.kept[point][:, :, groups]
        normed = transformer.attention_input(weights, layer, self.get("resid_pre", layer))
        k = transformer.project_per_query_head(weights, "k", layer, heads, normed)
        return attention.positioned(weights, "k", layer, k, torch.arange(k.shape[1], device=k.device))

    @property
    def n_bytes(self) -> int:
        """Memory of the kept tensors; views that share storage are counted once."""
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in self.kept.values()}
        return sum(storage.nbytes() for storage in storages.values())

    def _run_to(self, layer: int) -> None:
        """Run layers up to the entrance of ``layer``, from the last one that is known."""
        known = [start for hook, start in self.kept if hook == "resid_pre" and start <= layer]
        start = max(known, default=0)
        resid = self.kept["resid_pre", start] if known else transformer.embed(self.weights, self.tokens)
        for current in range(start, layer):
            resid = self._run_layer(current, resid)
        self.kept["resid_pre", layer] = resid

    def _run_layer(self, layer: int, resid: Float[Tensor, "both pos d_model"]) -> Float[Tensor, "both pos d_model"]:
        def keep(hook: str, value: Tensor) -> Tensor:
            if (hook, layer) in self.wanted and hook not in ("query_k", "query_v"):  # these are of key-value heads here
                self.kept.setdefault((hook, layer), value)
            if hook in ("attn_out", "mlp_out"):
                self.first_example[hook, layer] = torch.stack([value[0], value[len(value) // 2]])
            return value

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attention.attend(self.weights, layer, q, k, v, keep)

        return transformer.block(self.weights, layer, keep("resid_pre", resid), attend, keep)

    def _compute(self, hook: str, layer: int) -> Tensor:
        """An activation inside a layer, from the others of that layer."""
        weights, input_of = self.weights, Graph(self.weights.architecture).input_of
        if hook in ("q", "k", "v"):
            parts = transformer.queries_keys_values(weights, layer, self.get("resid_pre", layer))
            for name, part in zip("qkv", parts, strict=True):
                self.kept.setdefault((name, layer), part)
            return self.kept[hook, layer]
        match hook:
            case "pattern":  # query position first, so that rows are its second axis like everything's
                q, k = self.get("q", layer), self.get("k", layer)
                return attention.attention_pattern(weights, layer, q, k).transpose(1, 2)
            case "rot_k":
                k = self.get("k", layer)
                return attention.positioned(weights, "k", layer, k, torch.arange(k.shape[1], device=k.device))
            case "query_k" | "query_v":
                return attention.per_query_head(
                    self.get(hook.removeprefix("query_"), layer), weights.architecture.n_heads
                )
            case "z":
                q, k, v = (self.get(part, layer) for part in ("q", "k", "v"))
                return attention.attend(weights, layer, q, k, v)
            case "attn_out":
                return transformer.heads_output(weights, layer, self.get("z", layer))
            case "resid_mid":
                return self.get("resid_pre", layer) + self.get("attn_out", layer)
            case "post":
                return transformer.neurons(weights, layer, self.get(*input_of(Site("pre", layer))))
            case "mlp_out":
                return transformer.neurons_output(weights, layer, self.get("post", layer))
        return transformer.read(weights, hook, layer, self.get(*input_of(Site(hook, layer))))


def stack_tokens(orig: list[list[int]], new: list[list[int]], device: torch.device) -> Int[Tensor, "both pos"]:
    """Token ids of both runs, right-padded with token 0 to the longest prompt."""
    longest = max(map(len, orig))
    padded = [prompt + [0] * (longest - len(prompt)) for prompt in orig + new]
    return torch.tensor(padded, device=device)


@dataclass(frozen=True)
class Runs:
    """Orig and new runs of some examples, and where patched values come from."""

    activations: Activations
    source: Source = "new"
    means: dict[str, Tensor] = field(default_factory=dict)
    """Mean over the dataset's new runs, per position, by ``mean_name``; needed by source ``mean`` only."""

    @property
    def weights(self) -> Weights:
        """The model."""
        return self.activations.weights

    @property
    def graph(self) -> Graph:
        """Order and edges of its nodes."""
        return Graph(self.weights.architecture)

    @property
    def n_examples(self) -> int:
        """Examples in the batch."""
        return self.activations.tokens.shape[0] // 2

    def orig(self, hook: str, layer: int | None) -> Float[Tensor, "batch pos ..."]:
        """An activation of the run being patched."""
        return self.activations.get(hook, layer)[: self.n_examples]

    def new(self, hook: str, layer: int | None) -> Float[Tensor, "batch pos ..."]:
        """An activation of the run that the patch comes from."""
        return self.activations.get(hook, layer)[self.n_examples :]

    def source_value(self, hook: str, layer: int | None) -> Float[Tensor, "batch pos ..."]:
        """What a patched activation becomes."""
        if self.source == "new":
            return self.new(hook, layer)
        orig = self.orig(hook, layer)
        if self.source == "orig":
            return orig
        if self.source == "zero":
            return torch.zeros((), dtype=orig.dtype, device=orig.device).expand(orig.shape)
        name = mean_name(hook.removeprefix("query_"), layer)  # the same for every query head of a group
        mean = self.means[name][: orig.shape[1]]
        if hook in ("query_k", "query_v"):
            mean = attention.per_query_head(mean, self.weights.architecture.n_heads)
        if hook == "pattern":
            mean = mean[..., : orig.shape[1]]
        return mean.to(orig).expand(orig.shape)

    def patched_with_itself(self) -> "Runs":
        """The same prompts with orig as the source."""
        return replace(self, source="orig")

    def first_example(self, longest: int) -> "Runs":
        """The first example without padding, sharing the activations known so far."""
        n_examples = self.n_examples  # a stride over both halves: views, no copies
        kept = {point: value[::n_examples, :longest] for point, value in self.activations.kept.items()}
        kept |= {point: value[..., :longest] for point, value in kept.items() if point[0] == "pattern"}
        passed = self.activations.first_example.items()
        kept |= {point: value[:, :longest] for point, value in passed if point not in kept}
        tokens = self.activations.tokens[::n_examples, :longest]
        activations = Activations(self.weights, tokens, self.activations.wanted, kept)
        return replace(self, activations=activations)


def mean_name(hook: str, layer: int | None) -> str:
    """The key of a dataset mean, with ``resid_post`` under the next layer's ``resid_pre``."""
    if hook == "resid_post":
        assert layer is not None
        return f"resid_pre.{layer + 1}"
    return hook if layer is None else f"{hook}.{layer}"


class ActivationCache:
    """Activations of recent prompts, least recently used first out, bounded in bytes.

    A researcher's next question on the same prompts then costs only the patch.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        """Memory held at the last ``get``."""
        self._entries: OrderedDict[Hashable, Activations] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}

    def get(self, key: Hashable, make: Callable[[], Activations]) -> Activations:
        """The activations under ``key``, made if they are not known; they count as used now.

        Only what was got last may grow, so that a call takes as long however many others are kept.
        """
        if self._entries:
            self._measure(next(reversed(self._entries)))
        if key not in self._entries:
            self._entries[key] = make()
        self._entries.move_to_end(key)
        self._measure(key)
        found = self._entries[key]
        while self.n_bytes > self.max_bytes:
            forgotten, _ = self._entries.popitem(last=False)
            self.n_bytes -= self._sizes.pop(forgotten)
        return found

    def _measure(self, key: Hashable) -> None:
        size = self._entries[key].n_bytes
        self.n_bytes += size - self._sizes.get(key, 0)
        self._sizes[key] = size
