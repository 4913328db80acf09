"""What a config.json may say and which tensors belong to it, by family: known, or refused by name.

A new family is one more ``Family`` in ``FAMILIES``; the checks in ``checkpoints.folder`` know none of them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from planning.architecture import Architecture

Config = Mapping[str, Any]
Named = tuple[str, tuple[int, ...]]
"""A tensor's name and shape."""


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


@dataclass(frozen=True)
class Family:
    """One architecture."""

    model_type: str
    title: str
    architectures: frozenset[str]
    """What ``architectures`` may name; the first is meant where it is absent."""
    rules: tuple[Rule, ...]
    aliases: Mapping[str, str]
    """Names that transformers reads in place of the family's own; both must agree."""
    architecture: Callable[[Config], Architecture]
    eps_key: str
    tensors: Callable[[Config, Architecture], Iterator[Named]]
    """The tensors that the checkpoint must hold, without ``prefix``."""
    tied: tuple[str, str]
    """Two tensors that are one while ``tie_word_embeddings`` is true (its default); the second may then be left out."""
    prefix: str
    """What names may start with."""
    unused: re.Pattern[str]
    """Tensors that older programs stored and that nothing reads, such as causal masks."""


def _gpt2_architecture(config: Config) -> Architecture:
    if config["n_embd"] % config["n_head"]:
        raise ValueError(f"n_embd {config['n_embd']} is not a multiple of n_head {config['n_head']}")
    width = config["n_embd"]
    return Architecture(
        n_layers=config["n_layer"],
        n_heads=config["n_head"],
        d_model=width,
        d_mlp=config.get("n_inner") or 4 * width,
        n_ctx=config["n_positions"],
        d_vocab=config["vocab_size"],
        eps=float(config.get("layer_norm_epsilon", 1e-5)),
    )


def _gpt2_tensors(config: Config, shape: Architecture) -> Iterator[Named]:
    width = shape.d_model
    yield "wte.weight", (shape.d_vocab, width)
    yield "wpe.weight", (shape.n_ctx, width)
    for layer in range(shape.n_layers):
        block = f"h.{layer}"
        for norm in ("ln_1", "ln_2"):
            yield from _with_bias(f"{block}.{norm}", (width,))
        yield from _with_bias(f"{block}.attn.c_attn", (width, 3 * width))
        yield from _with_bias(f"{block}.attn.c_proj", (width, width))
        yield from _with_bias(f"{block}.mlp.c_fc", (width, shape.d_mlp))
        yield from _with_bias(f"{block}.mlp.c_proj", (shape.d_mlp, width))
    yield from _with_bias("ln_f", (width,))


def _with_bias(name: str, shape: tuple[int, ...]) -> Iterator[Named]:
    """A weight and the bias of its outputs."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[-1:]


UNSCALED = "its attention scores are not scaled by 1/sqrt(d_head), as GPT-2's are"

GPT2 = Family(
    model_type="gpt2",
    title="GPT-2",
    architectures=frozenset({"GPT2LMHeadModel", "GPT2Model"}),
    rules=(
        Rule(
            "activation_function",
            "gelu_new",
            ("gelu_new", "gelu_pytorch_tanh"),
            "its activation_function is {value}, and GPT-2's is 'gelu_new'",
        ),
        Rule("scale_attn_weights", True, (True,), UNSCALED),
        Rule("scale_attn_by_inverse_layer_idx", False, (False, None), UNSCALED),
        Rule("add_cross_attention", False, (False, None), "it has cross-attention, which GPT-2 has not"),
    ),
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    architecture=_gpt2_architecture,
    eps_key="layer_norm_epsilon",
    tensors=_gpt2_tensors,
    tied=("wte.weight", "lm_head.weight"),
    prefix="transformer.",
    unused=re.compile(r"h\.\d+\.attn\.(bias|masked_bias)"),
)

FAMILIES = {family.model_type: family for family in (GPT2,)}
"""By ``model_type``."""

REFUSED = {
    "quantization_config": "it is quantised (quantization_config), and quantised weights are not loaded",
    "compression_config": "it is quantised (compression_config), and quantised weights are not loaded",
    "auto_map": "its config.json brings code of its own (auto_map), which is never run",
    "pruned_heads": "some of its heads are pruned (pruned_heads), so heads would not be those of config.json",
    "is_encoder_decoder": "it is an encoder-decoder (is_encoder_decoder), and only decoders can be run",
}
"""Keys that no family may set, and why."""
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


def unsupported(config: Config) -> str | None:
    """Why the model of a ``config.json`` cannot be run here, in words; None where it can."""
    model_type = config.get("model_type")
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    listed = config.get("architectures")
    architectures = [str(name) for name in listed] if isinstance(listed, list) else []
    if family is None or not family.architectures.issuperset(architectures):
        known = ", ".join(sorted(family.title for family in FAMILIES.values()))
        named = ", ".join(architectures) or "not named"
        return f"its architecture is {named} ({model_type}), and only {known}'s can be run"
    for key, reason in REFUSED.items():
        if config.get(key):
            return reason
    for key in EXPERTS:
        if isinstance(config.get(key), int) and config[key] > 1:
            return f"it has {config[key]} experts ({key}), and mixtures of experts cannot be run"
    return next(filter(None, (rule.problem(config) for rule in family.rules)), None) or _contradiction(family, config)


def _contradiction(family: Family, config: Config) -> str | None:
    for alias, key in family.aliases.items():
        if alias in config and key in config and config[alias] != config[key]:
            return f"config.json says {key} {config[key]!r} and {alias} {config[alias]!r}, which are the same thing"
    return None
