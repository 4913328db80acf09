"""The two runs of a batch of examples, and what senders become."""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from worker.engine.activations import Activations
from worker.engine.weights import GPT2Weights

Source = Literal["new", "zero", "mean", "orig"]


@dataclass(frozen=True)
class Runs:
    """Orig and new runs of some examples, and where patched values come from."""

    activations: Activations
    source: Source = "new"
    """``orig`` patches orig with itself: the identity check."""
    means: dict[str, Tensor] = field(default_factory=dict)
    """Mean over the dataset's new runs, per position, by full hook name; needed by source ``mean`` only."""

    @property
    def weights(self) -> GPT2Weights:
        return self.activations.weights

    @property
    def n_examples(self) -> int:
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
        if self.source == "orig":
            return self.orig(hook, layer)
        orig = self.orig(hook, layer)
        if self.source == "zero":
            return torch.zeros((), dtype=orig.dtype, device=orig.device).expand(orig.shape)
        mean = self.means[mean_name(hook, layer)][: orig.shape[1]]
        if hook == "pattern":
            mean = mean[..., : orig.shape[1]]
        return mean.to(orig).expand(orig.shape)

    def patched_with_itself(self) -> "Runs":
        """The same prompts with orig as the source."""
        return replace(self, source="orig")

    def first_example(self, longest: int) -> "Runs":
        """The first example without padding, sharing the activations known so far."""
        n_examples = self.n_examples  # a stride over both halves: views, no copies
        kept = {place: value[::n_examples, :longest] for place, value in self.activations.kept.items()}
        kept |= {place: value[..., :longest] for place, value in kept.items() if place[0] == "pattern"}
        passed = self.activations.first_example.items()
        kept |= {place: value[:, :longest] for place, value in passed if place not in kept}
        tokens = self.activations.tokens[::n_examples, :longest]
        activations = Activations(self.weights, tokens, self.activations.wanted, kept)
        return replace(self, activations=activations)


def mean_name(hook: str, layer: int | None) -> str:
    """The key of a dataset mean, with ``resid_post`` under the next layer's ``resid_pre``."""
    if hook == "resid_post":
        assert layer is not None
        return f"resid_pre.{layer + 1}"
    return hook if layer is None else f"{hook}.{layer}"
