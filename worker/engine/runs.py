"""The two clean runs of a batch of examples: what is kept of them, and what patched activations become.

An activation is computed when first asked for, and kept where it will be asked for again.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planning.graph import Graph, Site
from planning.prompts import Prefixes, prefixes_of
from worker.engine import model, transformer
from worker.engine.model import Weights
from worker.engine.rows import Packing, chosen, on_device

LayerHook = tuple[str, int]
CHECKPOINTS = frozenset({"resid_pre", "resid_mid", "z", "k", "v", "rot_k"})
"""What later jobs on the same prompts are likely to need, and from which everything else follows quickly."""
Source = Literal["new", "zero", "mean", "orig"]
"""What a patched activation becomes; ``orig`` patches orig with itself: the identity check."""


@dataclass
class Activations:
    """Activations of orig and new prompts, stacked: the first half of the batch is orig.

    Each prefix is computed once, as a row of its own; what is asked for is given at all positions. Kept tensors are
    never modified. ``resid_pre`` of layer ``n_layers`` is the last residual stream.
    """

    weights: Weights
    tokens: Int[Tensor, "both pos"]
    wanted: frozenset[LayerHook] = frozenset()
    kept: dict[LayerHook, Tensor] = field(default_factory=dict)
    first_example: dict[LayerHook, Tensor] = field(default_factory=dict)
    """What attention and MLPs wrote in the first example's two runs, in passing: for the completeness check."""
    completeness: dict[bool, tuple[float, float]] = field(default_factory=dict)
    """That check's answer, by whether through MLPs: it depends on weights and prompts only."""
    prefixes: Prefixes | None = None
    """Of the prompts; by default those of ``tokens``, padding included."""
    packed: dict[LayerHook, Tensor] = field(default_factory=dict)
    """What is known and was not yet asked for: a row for each prefix."""

    @cached_property
    def packing(self) -> Packing:
        """The way to and from the rows."""
        prefixes = prefixes_of(self.tokens.tolist()) if self.prefixes is None else self.prefixes
        return Packing(prefixes, self.tokens.device)

    def get(self, hook: str, layer: int | None) -> Float[Tensor, "both pos ..."]:
        """One activation, under TransformerLens' short name; ``resid_post`` is the next layer's ``resid_pre``."""
        if hook == "embed":
            return self.weights.W_E[self.tokens]
        if hook == "pos_embed":
            n_rows, n_pos = self.tokens.shape
            return model.position_embeddings(self.weights, n_pos).expand(n_rows, n_pos, -1)
        assert layer is not None
        if hook == "resid_post":
            return self.get("resid_pre", layer + 1)
        if (hook, layer) not in self.kept:
            value = self._pattern(layer) if hook == "pattern" else self.packing.unpack(self._rows(hook, layer))
            self.kept[hook, layer] = value
            self.packed.pop((hook, layer), None)
        return self.kept[hook, layer]

    def keys(self, layer: int, heads: list[int]) -> Float[Tensor, "both pos heads d_head"]:
        """Keys as scores of some query heads read them; only theirs are computed where the layer's are not kept."""
        weights = self.weights
        point = ("rot_k" if weights.architecture.has_positioned_keys else "k"), layer
        groups = [head // weights.architecture.group_size for head in heads]
        if point in self.kept:
            return self.kept[point][:, :, chosen(groups, self.tokens.device)]
        if point in self.packed:
            return self.packing.unpack(self.packed[point][:, chosen(groups, self.tokens.device)])
        normed = transformer.norm(weights, "ln1", layer, self._rows("resid_pre", layer))
        k = model.project(weights, "query_k", layer, heads, normed)
        return self.packing.unpack(transformer.positioned(weights, "k", layer, k, self.packing.positions))

    @property
    def n_bytes(self) -> int:
        """Memory of the kept tensors; views that share storage are counted once."""
        tensors = (*self.kept.values(), *self.packed.values())
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
        return sum(storage.nbytes() for storage in storages.values())

    def _rows(self, hook: str, layer: int) -> Float[Tensor, "row ..."]:
        """One activation of every prefix, and kept."""
        if hook == "resid_post":
            return self._rows("resid_pre", layer + 1)
        if (hook, layer) in self.kept:
            return self.packing.pack(self.kept[hook, layer])
        if (hook, layer) not in self.packed:
            if hook == "resid_pre":
                self._run_to(layer)
            else:
                self.packed[hook, layer] = self._compute(hook, layer)
        return self.packed[hook, layer]

    def _run_to(self, layer: int) -> None:
        """Run layers up to the entrance of ``layer``, from the last one that is known."""
        known = [at for hook, at in (*self.kept, *self.packed) if hook == "resid_pre" and at < layer]
        start = max(known, default=0)
        resid = self._rows("resid_pre", start) if known else self.packing.pack(model.embed(self.weights, self.tokens))
        for current in range(start, layer):
            keep, attend = partial(self._keep, current), partial(self._attended, current)
            resid = transformer.block(self.weights, current, keep("resid_pre", resid), attend, keep)
        self.packed["resid_pre", layer] = resid

    def _keep(self, layer: int, hook: str, value: Float[Tensor, "row ..."]) -> Float[Tensor, "row ..."]:
        point = hook, layer
        is_wanted = point in self.wanted and hook not in ("query_k", "query_v")  # here of key-value heads
        if is_wanted and point not in self.kept and point not in self.packed:
            self.packed[point] = value
        if hook in ("attn_out", "mlp_out"):
            self.first_example[point] = value[self.packing.ends]
        return value

    def _attended(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "row n_heads d_head"]:
        """Each head's ``z``. A row attends where it is found first."""
        weights, packing = self.weights, self.packing
        q = transformer.positioned(weights, "q", layer, q, packing.positions)
        k = self._keep(layer, "rot_k", transformer.positioned(weights, "k", layer, k, packing.positions))
        if len(packing.groups) == 1:
            return packing.pack(transformer.attend_from(weights, layer, 0, *map(packing.unpack, (q, k, v))))
        found = []
        for start, rows in packing.groups:
            found.append(transformer.attend_from(weights, layer, start, q[rows[:, start:]], k[rows], v[rows]))
        return torch.cat([z.flatten(0, 1) for z in found]).index_select(0, packing.gathered)

    def _pattern(self, layer: int) -> Float[Tensor, "both pos n_heads pos"]:
        """Query position first, so that rows are its second axis like everything's."""
        q, k = self.get("q", layer), self.get("k", layer)
        return transformer.attention_pattern(self.weights, layer, q, k).transpose(1, 2)

    def _compute(self, hook: str, layer: int) -> Float[Tensor, "row ..."]:
        """An activation inside a layer, from the others of that layer."""
        weights, input_of, rows = self.weights, Graph(self.weights.architecture).input_of, self._rows
        if hook in ("q", "k", "v"):
            normed = transformer.norm(weights, "ln1", layer, rows("resid_pre", layer))
            parts = model.queries_keys_values(weights, layer, normed)
            for name, part in zip("qkv", parts, strict=True):
                if (name, layer) not in self.kept:
                    self.packed.setdefault((name, layer), part)
            return self.packed[hook, layer]
        match hook:
            case "rot_k":
                return transformer.positioned(weights, "k", layer, rows("k", layer), self.packing.positions)
            case "query_k" | "query_v":
                known = rows(hook.removeprefix("query_"), layer)
                return transformer.per_query_head(known, weights.architecture.n_heads)
            case "z":
                return self._attended(layer, *(rows(part, layer) for part in ("q", "k", "v")))
            case "attn_out":
                return transformer.output(weights, "z", layer, rows("z", layer))
            case "resid_mid":
                return rows("resid_pre", layer) + rows("attn_out", layer)
            case "post":
                return transformer.neurons(weights, layer, rows(*input_of(Site("pre", layer))))
            case "mlp_out":
                return transformer.output(weights, "post", layer, rows("post", layer))
        return transformer.read(weights, hook, layer, rows(*input_of(Site(hook, layer))))


def clean_runs(
    weights: Weights, orig: list[list[int]], new: list[list[int]], wanted: frozenset[LayerHook] = frozenset()
) -> Activations:
    """Activations of some examples' two runs, none of which is computed yet."""
    longest = max(map(len, orig))
    padded = [prompt + [0] * (longest - len(prompt)) for prompt in orig + new]
    tokens = on_device(padded, weights.W_E.device)
    return Activations(weights, tokens, wanted, prefixes=prefixes_of(orig + new))


@dataclass
class Runs:
    """Orig and new runs of some examples, and where patched values come from."""

    activations: Activations
    source: Source = "new"
    means: dict[str, Tensor] = field(default_factory=dict)
    """Mean over the dataset's new runs, per position, by ``mean_name``; needed by source ``mean`` only."""

    weights: Weights = field(init=False)
    graph: Graph = field(init=False)
    """Order and edges of the model's nodes."""
    device: torch.device = field(init=False)
    n_examples: int = field(init=False)

    def __post_init__(self) -> None:
        self.weights, self.graph = self.activations.weights, Graph(self.activations.weights.architecture)
        self.device = self.activations.tokens.device
        self.n_examples = len(self.activations.tokens) // 2

    def orig(self, hook: str, layer: int | None) -> Float[Tensor, "batch pos ..."]:
        """An activation of the run being patched."""
        return self.activations.get(hook, layer)[: self.n_examples]

    def new(self, hook: str, layer: int | None) -> Float[Tensor, "batch pos ..."]:
        """An activation of the run that the patch comes from."""
        return self.activations.get(hook, layer)[self.n_examples :]

    def source_value(self, hook: str, layer: int | None) -> Float[Tensor, "batch pos ..."]:
        """What a patched activation becomes."""
        both = self.activations.get(hook, layer)
        if self.source == "new":
            return both[self.n_examples :]
        orig = both[: self.n_examples]
        if self.source == "orig":
            return orig
        if self.source == "zero":
            return torch.zeros((), dtype=orig.dtype, device=orig.device).expand(orig.shape)
        name = mean_name(hook.removeprefix("query_"), layer)  # the same for every query head of a group
        mean = self.means[name][: orig.shape[1]]
        if hook in ("query_k", "query_v"):
            mean = transformer.per_query_head(mean, self.weights.architecture.n_heads)
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
        ends = self.activations.packing.ends[:, :longest]
        kept |= {point: value[ends] for point, value in self.activations.packed.items()}
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
