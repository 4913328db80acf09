"""What is known of one family of models, as data: rules of its config.json, sizes, tensors."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from planning.architecture import Architecture

Config = Mapping[str, Any]


class Part(NamedTuple):
    """One tensor of a checkpoint, and what it becomes."""

    name: str
    """Without the family's prefix."""
    shape: tuple[int, ...]
    role: str = ""
    """What it holds, as ``checkpoints.families.layout`` lists; empty where TransformerLens reads the checkpoint."""
    layer: int | None = None


@dataclass(frozen=True)
class Rule:
    """A key that changes what the model computes, with the values that can be run."""

    key: str
    default: Any
    """What an absent key means."""
    allowed: tuple[Any, ...]
    reason: str
    """Why another value is refused; ``{value}`` stands for it."""

    def problem(self, config: Config) -> str | None:
        """The reason, where the value is not allowed."""
        value = config.get(self.key, self.default)
        return None if value in self.allowed else self.reason.format(value=repr(value))


INVERSE_FREQUENCIES = re.compile(r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Family:
    """One architecture. What is left out is as in Llama."""

    model_type: str
    title: str
    architectures: frozenset[str]
    """What ``architectures`` may name; any is meant where it is absent."""
    architecture: Callable[[Config], Architecture]
    tensors: Callable[[Config, Architecture], Iterator[Part]]
    """The tensors that the checkpoint must hold, without a prefix, and without the second of ``tied``."""
    eps_key: str
    rules: tuple[Rule, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Names that transformers reads in place of the family's own; both must agree."""
    tied: tuple[str, str] = ("embed_tokens.weight", "lm_head.weight")
    """Embedding and unembedding: one tensor while ``tie_word_embeddings`` is true; the second may then be left out."""
    is_tied_by_default: bool = False
    """What an absent ``tie_word_embeddings`` means."""
    prefixes: tuple[str, ...] = ("model.",)
    """What names may start with."""
    unused: re.Pattern[str] = INVERSE_FREQUENCIES
    """Tensors that older programs stored and that nothing reads, such as causal masks."""
    gain_offset: float = 0.0
    """What is added to the stored gain of every norm."""
    scales_embeddings: bool = False
    """Whether embeddings are multiplied by the root of the model's width."""

    def is_tied(self, config: Config) -> bool:
        """Whether embedding and unembedding are one tensor."""
        return config.get("tie_word_embeddings", self.is_tied_by_default) is not False

    def embedding_scale(self, architecture: Architecture) -> float:
        """By which embeddings are multiplied."""
        return float(architecture.d_model**0.5) if self.scales_embeddings else 1.0

    def plain(self, name: str) -> str:
        """A tensor's name without the prefix that it may start with."""
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return name.removeprefix(prefix)
        return name

    def parts(self, config: Config, architecture: Architecture) -> Iterator[Part]:
        """All tensors that the checkpoint must hold; of tied ones the first."""
        embedding, unembedding = self.tied
        is_tied = self.is_tied(config)
        for part in self.tensors(config, architecture):
            yield part
            if part.name == embedding and not is_tied:
                yield Part(unembedding, part.shape, "W_U")


def classes(name: str) -> frozenset[str]:
    """What transformers calls a family's models."""
    return frozenset({f"{name}ForCausalLM", f"{name}Model"})
